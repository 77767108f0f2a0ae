import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import s from "./Chart.module.css";
import { stack } from "./stack";

export type Series = {
  name: string;
  /** The name of a design token, such as `--failed-solid`. */
  colour: string;
  /** One value for each time; null is a gap. */
  values: (number | null)[];
};

type Props = {
  /** What it shows, for those who can't see it. */
  label: string;
  /** Unix seconds, rising. */
  times: number[];
  series: Series[];
  /** Bars are put on top of each other; lines are not. */
  kind: "bars" | "lines";
  height?: number;
  /** Writes a value for axis and legend. */
  format?: (value: number) => string;
  /** Called with Unix milliseconds when a range is dragged. */
  onRange?: (from: number, until: number) => void;
};

const plain = (value: number) => value.toLocaleString();

/** A chart over time. Drag over it to choose a range, where that leads anywhere. */
export function Chart({ label, times, series, kind, height = 120, format = plain, onRange }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const choose = useRef(onRange);
  useEffect(() => {
    choose.current = onRange;
  });
  const canChoose = onRange !== undefined;
  useEffect(() => {
    const box = place.current;
    if (!box || times.length === 0) return;
    const draw = () => plot(box, { times, series, kind, height, format, choose: canChoose ? choose : undefined });
    let chart = draw();
    const resized = new ResizeObserver(() => chart.setSize({ width: box.clientWidth, height }));
    resized.observe(box);
    const redraw = () => {
      chart.destroy();
      chart = draw();
    };
    // The canvas takes its colours when it is drawn.
    const themed = new MutationObserver(redraw);
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", redraw);
    return () => {
      dark.removeEventListener("change", redraw);
      themed.disconnect();
      resized.disconnect();
      chart.destroy();
    };
  }, [times, series, kind, height, format, canChoose]);
  return (
    <figure className={s.chart} aria-label={label}>
      <div ref={place} style={{ height }} data-can-choose={canChoose || undefined} />
      <figcaption className={s.legend}>
        {series.map(({ name, colour }) => (
          <span key={name} className={s.name}>
            <i style={{ background: `var(${colour})` }} />
            {name}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

type Plot = Required<Pick<Props, "times" | "series" | "kind" | "height" | "format">> & {
  choose?: { current: Props["onRange"] };
};

function plot(box: HTMLElement, { times, series, kind, height, format, choose }: Plot): uPlot {
  const styles = getComputedStyle(box);
  const token = (name: string) => styles.getPropertyValue(name).trim();
  const axis = {
    stroke: token("--faint"),
    font: `11px ${token("--font")}`,
    grid: { stroke: token("--border"), width: 1 },
    ticks: { show: false },
    gap: 4,
  };
  const stacked = kind === "bars" ? stack(series.map(({ values }) => values)) : series.map(({ values }) => values);
  const options: uPlot.Options = {
    width: box.clientWidth,
    height,
    legend: { show: false },
    cursor: {
      y: false,
      points: { show: kind === "lines" },
      drag: { x: choose !== undefined, y: false, setScale: false },
    },
    scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(max, 1) * 1.1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 24, values: (_, ticks) => ticks.map((at) => timeText(at, ticks)) },
      { ...axis, size: 44, values: (_, ticks) => ticks.map(format), space: 32 },
    ],
    series: [
      {},
      // The tallest first, so that the others are drawn over it.
      ...series.toReversed().map(({ name, colour }): uPlot.Series => {
        const fill = token(colour);
        return kind === "bars"
          ? {
              label: name,
              fill,
              width: 0,
              paths: uPlot.paths.bars?.({ size: [0.86, 40], radius: 0.12 }),
              points: { show: false },
            }
          : { label: name, stroke: fill, width: 1.5, points: { size: 4, fill } };
      }),
    ],
    hooks: {
      setSelect: [
        (chart) => {
          if (!choose || chart.select.width < 4) return;
          const at = (x: number) => Math.round(chart.posToVal(x, "x") * 1_000);
          choose.current?.(at(chart.select.left), at(chart.select.left + chart.select.width));
          chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
  };
  return new uPlot(options, [times, ...stacked.toReversed()] as uPlot.AlignedData, box);
}

/** Write a tick: the time of day, or the date where they are days apart. */
function timeText(at: number, ticks: number[]): string {
  const isDaily = (ticks[1] ?? at) - (ticks[0] ?? at) >= 86_400;
  const options: Intl.DateTimeFormatOptions = isDaily
    ? { month: "short", day: "numeric" }
    : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Date(at * 1_000).toLocaleString(undefined, options);
}
