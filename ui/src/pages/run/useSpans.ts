import type { Span } from "./spans";

const NONE: Span[] = [];

export function useSpans(_id: string, _ended: string | null): Span[] {
  return NONE;
}
