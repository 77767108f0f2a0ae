// Bars over time, one stacked on the other, on which a range of time is chosen by dragging.
import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { ChartTip } from "./ChartTip";
import { spanWords, timeLabels } from "./chart";
import s from "./StackedBars.module.css";
import { useThemeCount } from "./useThemeCount";

export interface Layer {
  name: string;
  /** A custom property of the theme, such as `--failed-solid`. */
  colour: string;
  values: readonly number[];
}

type Props = {
  label: string;
  /** Unix ms at which each bar begins; bars are `bucketMs` wide. */
  times: readonly number[];
  bucketMs: number;
  /** From the lowest to the highest. */
  layers: readonly Layer[];
  height: number;
  /** Called with the range that is dragged; without it none is chosen. */
  onRange?: (fromMs: number, untilMs: number) => void;
};

export function StackedBars({ label, times, bucketMs, layers, height, onRange }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useThemeCount();
  const [hovered, setHovered] = useState<number | null>(null);
  const latest = useRef({ times, bucketMs, onRange });
  latest.current = { times, bucketMs, onRange };
  const canChoose = onRange !== undefined;
  const names = layers.map((layer) => `${layer.name} ${layer.colour}`).join();

  // biome-ignore lint/correctness/useExhaustiveDependencies: another look needs another plot; data has an effect of its own
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const style = getComputedStyle(element);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const bars = uPlot.paths.bars?.({ size: [0.82, 40], align: 1, radius: 0.12 });
    const font = `11px ${colour("--font")}`;
    const made = new uPlot(
      {
        width: element.clientWidth || 300,
        height,
        padding: [6, 0, 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          points: { show: false },
          drag: { x: canChoose, y: false, setScale: false },
        },
        scales: {
          x: { time: true, range: () => edges(latest.current.times, latest.current.bucketMs) },
          y: { range: (_, _min, max) => [0, Math.max(1, max * 1.08)] },
        },
        axes: [
          {
            stroke: colour("--faint"),
            font,
            size: 20,
            gap: 2,
            grid: { show: false },
            ticks: { show: false },
            space: 90,
            values: timeLabels,
          },
          { show: false },
        ],
        series: [
          {},
          // The highest is drawn first: each covers the lower part of the one before.
          ...[...layers].reverse().map((layer) => ({
            label: layer.name,
            fill: colour(layer.colour),
            width: 0,
            paths: bars,
            points: { show: false },
          })),
        ],
        hooks: {
          setCursor: [
            (u) => {
              const { left = -1 } = u.cursor;
              const { times: now, bucketMs: ms } = latest.current;
              const at = left < 0 ? -1 : Math.floor((u.posToVal(left, "x") * 1_000 - (now[0] ?? 0)) / ms);
              setHovered(at >= 0 && at < now.length ? at : null);
            },
          ],
          setSelect: [
            (u) => {
              if (u.select.width < 4) return;
              const { times: now, bucketMs: ms, onRange: tell } = latest.current;
              const first = now[0] ?? 0;
              const border = (px: number) => (u.posToVal(px, "x") * 1_000 - first) / ms;
              const from = Math.max(0, Math.floor(border(u.select.left)));
              const until = Math.min(now.length, Math.ceil(border(u.select.left + u.select.width)));
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              tell?.(first + from * ms, first + until * ms);
            },
          ],
        },
      },
      [[], ...layers.map(() => [])],
      element,
    );
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [names, height, theme, canChoose]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new plot needs its data, too
  useEffect(() => {
    plot.current?.setData([times.map((at) => at / 1_000), ...stacked(layers).reverse()]);
  }, [times, layers, names, height, theme, canChoose]);

  const most = Math.max(0, ...(stacked(layers).at(-1) ?? []));
  const hoveredAt = hovered === null ? undefined : times[hovered];
  return (
    <figure className={s.chart}>
      <div
        ref={place}
        className={s.plot}
        data-can-choose={canChoose || undefined}
        role="img"
        aria-label={label}
        style={{ height }}
      />
      {most > 0 && (
        <span className={s.most} aria-hidden>
          {most.toLocaleString("en")}
        </span>
      )}
      {hovered !== null && hoveredAt !== undefined && (
        <ChartTip
          at={(hovered + 0.5) / times.length}
          title={spanWords(hoveredAt, bucketMs)}
          rows={layers.map(({ name, colour, values }) => ({
            name,
            colour,
            value: (values[hovered] ?? 0).toLocaleString("en"),
          }))}
        />
      )}
    </figure>
  );
}

function edges(times: readonly number[], bucketMs: number): [number, number] {
  const first = times[0] ?? 0;
  return [first / 1_000, (first + times.length * bucketMs) / 1_000];
}

/** The tops of the bars: each layer on those below it. */
function stacked(layers: readonly Layer[]): number[][] {
  let below: number[] = [];
  return layers.map((layer) => {
    below = layer.values.map((value, at) => value + (below[at] ?? 0));
    return below;
  });
}
