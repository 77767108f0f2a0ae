// The part of a run's time that is shown, and how it is moved: plain arithmetic on ms from the run's start.

export interface Window {
  from: number;
  to: number;
}

/** What is shown never gets narrower than this, nor a 2,000th of the whole. */
const LEAST_MS = 2;

/** Keep a window inside the whole, and wide enough to be of use. */
export function clampWindow(window: Window, whole: number): Window {
  const least = Math.min(whole, Math.max(LEAST_MS, whole / 2_000));
  const span = Math.min(whole, Math.max(least, window.to - window.from));
  const from = Math.min(Math.max(0, window.from), whole - span);
  return { from, to: from + span };
}

export function moveWindow(window: Window, by: number, whole: number): Window {
  return clampWindow({ from: window.from + by, to: window.to + by }, whole);
}

/** Drag one edge; past the other one, it stops there. */
export function dragEdge(window: Window, edge: "from" | "to", at: number, whole: number): Window {
  const least = Math.min(whole, Math.max(LEAST_MS, whole / 2_000));
  if (edge === "from") return { from: Math.min(Math.max(0, at), window.to - least), to: window.to };
  return { from: window.from, to: Math.max(Math.min(whole, at), window.from + least) };
}

/** Zoom by a factor (below 1: nearer) so that the instant `at` stays where it is. */
export function zoomWindow(window: Window, factor: number, at: number, whole: number): Window {
  return clampWindow({ from: at - (at - window.from) * factor, to: at + (window.to - at) * factor }, whole);
}

/** A window over all of it is none. */
export function isWhole(window: Window, whole: number): boolean {
  return window.from <= 0 && window.to >= whole;
}

const NICE = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const STEPS_MS = [
  ...NICE,
  ...[1, 2, 5, 10, 15, 30].map((s) => s * 1_000),
  ...[1, 2, 5, 10, 15, 30].map((m) => m * 60_000),
  ...[1, 2, 3, 6, 12].map((h) => h * 3_600_000),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 365].map((d) => d * 86_400_000),
];

export interface Ticks {
  step: number;
  at: number[];
}

/** Round instants for an axis, at most `count` of them. */
export function ticks(window: Window, count: number): Ticks {
  const span = window.to - window.from;
  const step = STEPS_MS.find((ms) => span / ms <= count) ?? (STEPS_MS.at(-1) as number);
  const at: number[] = [];
  for (let t = Math.ceil(window.from / step) * step; t <= window.to && at.length <= count; t += step) at.push(t);
  return { step, at };
}
