import { useSyncExternalStore } from "react";
import { exact } from "./instant";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long ago, or in how long: `now`, `12 s ago`, `in 3 min`, `2 d ago`. */
export function relative(at: number, now: number): string {
  const ms = Math.abs(now - at);
  if (ms < 5 * SECOND) return "now";
  const [size, unit] = ms < MINUTE ? [SECOND, "s"] : ms < HOUR ? [MINUTE, "min"] : ms < DAY ? [HOUR, "h"] : [DAY, "d"];
  const text = `${Math.floor(ms / (size as number))} ${unit}`;
  return at > now ? `in ${text}` : `${text} ago`;
}

/** A point in time: relative, and in full on hover. */
export function Time({ at }: { at: string }) {
  const now = useNow();
  return (
    <time dateTime={at} title={exact(at)}>
      {relative(Date.parse(at), now)}
    </time>
  );
}

let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;
const listeners = new Set<() => void>();

/** The time, told to all who show it every second, in one go; nothing ticks where none is shown. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const tell of listeners) tell();
  }, SECOND);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}
