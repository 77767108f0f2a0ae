import { type RefObject, useEffect, useRef, useSyncExternalStore } from "react";
import type { Frame } from "./frame";
import s from "./Waterfall.module.css";
import { ticks } from "./window";
import { tickWords } from "./words";

const TICK_PX = 84;

/** The times above the bars, a line down from each, and the line at the pointer. Renders only when other ticks are due. */
export function Axis({
  frame,
  height,
  cursor,
}: {
  frame: Frame;
  height: number;
  cursor: RefObject<HTMLDivElement | null>;
}) {
  const track = useRef<HTMLDivElement>(null);
  const count = useRef(6);
  useEffect(() => {
    const element = track.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => {
      count.current = Math.max(3, Math.floor((entry?.contentRect.width ?? 600) / TICK_PX));
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const key = useSyncExternalStore(frame.subscribe, () => {
    const { step, at } = ticks(frame.window, count.current);
    return `${step},${at[0] ?? 0},${at.length}`;
  });
  const [step = 1, first = 0, length = 0] = key.split(",").map(Number);
  const at = Array.from({ length }, (_, index) => first + index * step);
  return (
    <>
      <div className={s.axis} style={{ height }} role="presentation">
        <div className={s.corner}>Step</div>
        <div className={s.track} ref={track} aria-hidden>
          {at.map((ms) => (
            <span key={ms} className={s.tick} style={{ "--s": ms }}>
              {tickWords(ms, step)}
            </span>
          ))}
          <div className={s.lines}>
            <div ref={cursor} className={s.cursor} hidden />
          </div>
        </div>
      </div>
      <div className={s.behind} style={{ top: height }} aria-hidden>
        <div className={s.lines}>
          {at.map((ms) => (
            <i key={ms} className={s.grid} style={{ "--s": ms }} />
          ))}
        </div>
      </div>
    </>
  );
}
