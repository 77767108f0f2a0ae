import { type PointerEvent, useEffect, useRef } from "react";
import { durationText } from "~/parts/duration";
import { type Key, usePartKeys } from "~/parts/useKeys";
import type { Frame } from "./frame";
import type { Model } from "./layout";
import s from "./Overview.module.css";
import { drawOverview } from "./paint";
import { dragEdge, moveWindow, type Window, zoomWindow } from "./window";

type Props = {
  model: Model;
  frame: Frame;
  /** A choice has been made: null is all of the run. */
  onChoose: (window: Window | null) => void;
};

type Drag = { part: "from" | "to" | "middle" | "new"; x: number; start: Window };

/** How often a run that goes on is drawn anew here. */
const REDRAW_MS = 1_000;
const KEY_STEP = 0.05;

/** All of a run, small, with a window over the part that is shown: drag its edges, drag it, or draw a new one. */
export function Overview({ model, frame, onChoose }: Props) {
  const strip = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const drag = useRef<Drag | null>(null);
  useEffect(() => (strip.current ? frame.attach(strip.current, true) : undefined), [frame]);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    let drawn = 0;
    const draw = () => {
      drawn = performance.now();
      drawOverview(element, model, frame.whole, frame.now);
    };
    draw();
    const observer = new ResizeObserver(draw);
    observer.observe(element);
    const stop = frame.subscribe(() => {
      if (model.end === null && performance.now() - drawn > REDRAW_MS) draw();
    });
    const themes = new MutationObserver(draw);
    themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => {
      observer.disconnect();
      themes.disconnect();
      stop();
    };
  }, [model, frame]);

  const at = (event: PointerEvent) => {
    const box = strip.current?.getBoundingClientRect();
    return box ? ((event.clientX - box.left) / box.width) * frame.whole : 0;
  };
  const grab = (part: Drag["part"]) => (event: PointerEvent) => {
    if (event.button !== 0) return;
    event.stopPropagation();
    strip.current?.setPointerCapture(event.pointerId);
    drag.current = { part, x: at(event), start: frame.window };
  };
  const grabPlace = (event: PointerEvent) => {
    const x = at(event);
    const { chosen } = frame;
    grab(chosen && x >= chosen.from && x <= chosen.to ? "middle" : "new")(event);
  };
  const onPointerMove = (event: PointerEvent) => {
    const held = drag.current;
    if (!held) return;
    const x = at(event);
    if (held.part === "new") frame.choose({ from: Math.min(held.x, x), to: Math.max(held.x, x) + 1 });
    else if (held.part === "middle") frame.choose(moveWindow(held.start, x - held.x, frame.whole));
    else frame.choose(dragEdge(held.start, held.part, x, frame.whole));
  };
  const onPointerUp = (event: PointerEvent) => {
    const held = drag.current;
    drag.current = null;
    if (!held) return;
    if (held.part === "new" && Math.abs(at(event) - held.x) < frame.whole / 200) frame.choose(held.start); // a mere click
    onChoose(frame.chosen);
  };
  const choose = (next: Window | null) => {
    frame.choose(next);
    onChoose(frame.chosen);
  };
  const reset = () => choose(null);

  return (
    // biome-ignore lint/a11y/useSemanticElements: no part of a form
    <div
      ref={strip}
      className={s.strip}
      role="group"
      aria-label="Time shown"
      onPointerDown={grabPlace}
      onPointerMove={onPointerMove}
      onPointerUp={onPointerUp}
      onDoubleClick={reset}
      title="Drag to zoom, double click to show all"
    >
      <canvas ref={canvas} className={s.canvas} aria-hidden />
      <i className={s.outside} data-side="left" />
      <i className={s.outside} data-side="right" />
      <div className={s.window}>
        <Handle frame={frame} edge="from" onPointerDown={grab("from")} choose={choose} />
        <Handle frame={frame} edge="to" onPointerDown={grab("to")} choose={choose} />
      </div>
    </div>
  );
}

type HandleProps = {
  frame: Frame;
  edge: "from" | "to";
  onPointerDown: (event: PointerEvent) => void;
  choose: (window: Window | null) => void;
};

function Handle({ frame, edge, onPointerDown, choose }: HandleProps) {
  const ref = useRef<HTMLDivElement>(null);
  const move = (sign: -1 | 1): Key => ({
    does: "Earlier, later; with shift, by more",
    act: ({ shiftKey }) => {
      const { window, whole } = frame;
      const by = sign * (window.to - window.from) * KEY_STEP * (shiftKey ? 5 : 1);
      choose(dragEdge(window, edge, window[edge] + by, whole));
    },
  });
  const zoom = (factor: number): Key => ({
    does: "Zoom in, out",
    act: () => choose(zoomWindow(frame.window, factor, (frame.window.from + frame.window.to) / 2, frame.whole)),
  });
  const all = { does: "Show all of the time", act: () => choose(null) };
  const onKeyDown = usePartKeys("At an edge of the time shown", {
    arrowleft: move(-1),
    arrowright: move(1),
    "+": zoom(0.7),
    "=": zoom(0.7),
    "-": zoom(1 / 0.7),
    home: all,
    escape: all,
  });
  useEffect(() => {
    const write = () => {
      const at = Math.max(0, frame.window[edge]);
      ref.current?.setAttribute("aria-valuenow", String(Math.round((at / frame.whole) * 100)));
      ref.current?.setAttribute("aria-valuetext", durationText(at));
    };
    write();
    return frame.subscribe(write);
  }, [frame, edge]);
  return (
    <div
      ref={ref}
      className={s.handle}
      data-edge={edge}
      role="slider"
      tabIndex={0}
      aria-label={edge === "from" ? "Shown from" : "Shown until"}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={edge === "from" ? 0 : 100}
      onPointerDown={onPointerDown}
      onKeyDown={onKeyDown}
    />
  );
}
