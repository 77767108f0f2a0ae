import { useEffect, useRef } from "react";
import { durationText } from "~/parts/duration";
import type { Frame } from "./frame";

/** A length of time that goes on: its text changes without a render. */
export function Ticking({ frame, from, to }: { frame: Frame; from: number; to: number | null }) {
  const ref = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    if (to !== null) return;
    const write = () => {
      const text = durationText(Math.max(0, frame.now - from));
      if (ref.current && ref.current.textContent !== text) ref.current.textContent = text;
    };
    write();
    return frame.subscribe(write);
  }, [frame, from, to]);
  return <span ref={ref}>{durationText(Math.max(0, (to ?? frame.now) - from))}</span>;
}
