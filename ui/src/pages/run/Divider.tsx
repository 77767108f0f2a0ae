import { type PointerEvent, useRef, useState } from "react";
import { usePartKeys } from "~/parts/useKeys";
import s from "./Divider.module.css";

const KEY_PX = 24;

/** A length that is kept in this browser. */
export function useLength(name: string, initial: number, least: number, most: () => number) {
  const key = `stepwell.${name}`;
  const [px, setPx] = useState(() => Number(localStorage.getItem(key)) || initial);
  const set = (next: number) => {
    const kept = Math.round(Math.min(most(), Math.max(least, next)));
    localStorage.setItem(key, String(kept));
    setPx(kept);
  };
  return [px, set] as const;
}

type Props = { label: string; px: number; onChange: (px: number) => void; side: "right" | "bottom" };

/** Drags the edge of the pane at the right, or at the bottom; arrow keys do the same. */
export function Divider({ label, px, onChange, side }: Props) {
  const start = useRef<{ at: number; px: number } | null>(null);
  const place = (event: PointerEvent) => (side === "right" ? event.clientX : event.clientY);
  const onPointerDown = (event: PointerEvent<HTMLDivElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    start.current = { at: place(event), px };
  };
  const onPointerMove = (event: PointerEvent) => {
    if (start.current) onChange(start.current.px + start.current.at - place(event));
  };
  const by = (change: number) => ({ does: "Larger, smaller", act: () => onChange(px + change) });
  const onKeyDown = usePartKeys(
    "At the edge of a pane",
    side === "right"
      ? { arrowleft: by(KEY_PX), arrowright: by(-KEY_PX) }
      : { arrowup: by(KEY_PX), arrowdown: by(-KEY_PX) },
  );
  return (
    // biome-ignore lint/a11y/useSemanticElements: a rule can't be dragged
    <div
      className={s.divider}
      data-side={side}
      role="separator"
      aria-label={label}
      aria-orientation={side === "right" ? "vertical" : "horizontal"}
      aria-valuenow={px}
      tabIndex={0}
      onPointerDown={onPointerDown}
      onPointerMove={onPointerMove}
      onPointerUp={() => {
        start.current = null;
      }}
      onKeyDown={onKeyDown}
    />
  );
}
