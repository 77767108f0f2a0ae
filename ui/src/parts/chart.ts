// What all charts over time share: how they write times.
import type uPlot from "uplot";

export const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export const CLOCK_S = new Intl.DateTimeFormat("en", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
export const DAY = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });

/** The labels of a time axis; none where it would stand over one of the chart's ends. */
export function timeLabels(u: uPlot, splits: number[]): string[] {
  const spanS = (u.scales.x?.max ?? 0) - (u.scales.x?.min ?? 0);
  return splits.map((at) => (isCutOff(u, at) ? "" : timeLabel(at, spanS)));
}

function isCutOff(u: uPlot, at: number): boolean {
  const px = u.valToPos(at, "x");
  return px < 18 || px > u.over.clientWidth - 18;
}

/** Write a time in Unix seconds, as precisely as a span of so many asks for. */
export function timeLabel(at: number, spanS: number): string {
  const date = new Date(at * 1_000);
  const isMidnight = date.getHours() === 0 && date.getMinutes() === 0;
  if (spanS > 3 * 86_400 || (isMidnight && spanS > 3_600)) return DAY.format(date);
  return (spanS < 300 ? CLOCK_S : CLOCK).format(date);
}

/** Write a span of time: `3 Jan, 14:05 – 14:10`. */
export function spanWords(at: number, ms: number): string {
  const clock = ms < 60_000 ? CLOCK_S : CLOCK;
  return `${DAY.format(at)}, ${clock.format(at)} – ${clock.format(at + ms)}`;
}
