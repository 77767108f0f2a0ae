import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { timeLabels } from "./chart";
import s from "./Lines.module.css";
import { useThemeCount } from "./useThemeCount";

export type Line = {
  name: string;
  /** The name of a design token, such as `--failed-solid`. */
  colour: string;
  /** One value for each time; null is a gap. */
  values: (number | null)[];
};

type Props = {
  /** What it shows, for those who can't see it. */
  label: string;
  /** Unix ms, rising. */
  times: number[];
  lines: Line[];
  height: number;
  /** Writes a value beside the axis. */
  format: (value: number) => string;
};

/** Lines over time, with their names below. */
export function Lines({ label, times, lines, height, format }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const theme = useThemeCount();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a canvas takes its colours when it is drawn
  useEffect(() => {
    const box = place.current;
    if (!box || times.length === 0) return;
    const chart = plot(box, { times, lines, height, format });
    const resized = new ResizeObserver(() => chart.setSize({ width: box.clientWidth, height }));
    resized.observe(box);
    return () => {
      resized.disconnect();
      chart.destroy();
    };
  }, [times, lines, height, format, theme]);
  return (
    <figure className={s.chart}>
      <div ref={place} role="img" aria-label={label} style={{ height }} />
      <figcaption className={s.legend}>
        {lines.map(({ name, colour }) => (
          <span key={name} className={s.name}>
            <i style={{ background: `var(${colour})` }} />
            {name}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function plot(box: HTMLElement, { times, lines, height, format }: Omit<Props, "label">): uPlot {
  const style = getComputedStyle(box);
  const token = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: token("--faint"), font: `11px ${token("--font")}`, ticks: { show: false }, gap: 4 };
  const options: uPlot.Options = {
    width: box.clientWidth,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(max, 1) * 1.1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 24, space: 90, values: timeLabels },
      {
        ...axis,
        grid: { stroke: token("--border"), width: 1 },
        size: 44,
        space: 32,
        values: (_, ticks) => ticks.map(format),
      },
    ],
    series: [
      {},
      // A single value between gaps is a point: a line alone would leave it out.
      ...lines.map(({ name, colour }) => ({
        label: name,
        stroke: token(colour),
        width: 1.5,
        points: { show: true, size: 4, fill: token(colour) },
      })),
    ],
  };
  return new uPlot(options, [times.map((at) => at / 1_000), ...lines.map(({ values }) => values)], box);
}
