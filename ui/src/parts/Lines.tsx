import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { ChartTip } from "./ChartTip";
import { spanWords, timeLabels } from "./chart";
import s from "./Lines.module.css";
import { useThemeCount } from "./useThemeCount";

export type Line = {
  name: string;
  /** The name of a design token, such as `--failed-solid`. */
  colour: string;
  /** One value for each time, which is that of the bucket from then on; null is a gap. */
  values: (number | null)[];
};

/** A value that is the same at all times. */
export type Mark = { name: string; value: number };

type Props = {
  /** What it shows, for those who can't see it. */
  label: string;
  /** Unix ms, rising. */
  times: number[];
  bucketMs: number;
  lines: Line[];
  height: number;
  /** Writes a value beside the axis. */
  format: (value: number) => string;
  /** Dashed, with their names. */
  marks?: Mark[];
  /** Lines are steps with their area filled: their values are counts, which are what they are until they change. */
  isStepped?: boolean;
};

/** The bucket under the pointer, and where that is as a share of the chart's width. */
type Hovered = { place: number; at: number };

/** Lines over time, with their names below. */
export function Lines({ label, times, bucketMs, lines, height, format, marks, isStepped }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const theme = useThemeCount();
  const pointer = useRef<{ left: number; top: number } | null>(null);
  const [hovered, setHovered] = useState<Hovered | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a canvas takes its colours when it is drawn
  useEffect(() => {
    const box = place.current;
    if (!box || times.length === 0) return;
    const chart = plot(box, { times, bucketMs, lines, height, format, marks, isStepped }, setHovered);
    if (pointer.current) chart.setCursor(pointer.current);
    const resized = new ResizeObserver(() => chart.setSize({ width: box.clientWidth, height }));
    resized.observe(box);
    return () => {
      const { left = -1, top = -1 } = chart.cursor;
      pointer.current = left < 0 ? null : { left, top }; // with other data it stays where it is
      resized.disconnect();
      chart.destroy();
    };
  }, [times, bucketMs, lines, height, format, marks, isStepped, theme]);
  const hoveredAt = hovered ? times[hovered.place] : undefined;
  const rows = lines.flatMap(({ name, colour, values }) => {
    const value = hovered && values[hovered.place];
    return value == null ? [] : [{ name, colour, value: format(value) }];
  });
  return (
    <figure className={s.chart}>
      <div className={s.plot}>
        <div ref={place} role="img" aria-label={label} style={{ height }} />
        {hovered && hoveredAt !== undefined && rows.length > 0 && (
          <ChartTip at={hovered.at} title={spanWords(hoveredAt, bucketMs)} rows={rows} />
        )}
      </div>
      <figcaption className={s.legend}>
        {lines.map(({ name, colour }) => (
          <span key={name} className={s.name}>
            <i style={{ background: `var(${colour})` }} />
            {name}
          </span>
        ))}
        {marks?.map(({ name }) => (
          <span key={name} className={s.name}>
            <i className={s.dash} />
            {name}
          </span>
        ))}
      </figcaption>
    </figure>
  );
}

function plot(
  box: HTMLElement,
  { times, bucketMs, lines, height, format, marks = [], isStepped }: Omit<Props, "label">,
  hover: (hovered: Hovered | null) => void,
): uPlot {
  const style = getComputedStyle(box);
  const token = (name: string) => style.getPropertyValue(name).trim();
  const font = `11px ${token("--font")}`;
  const axis = { stroke: token("--faint"), font, ticks: { show: false }, gap: 4 };
  const markMax = Math.max(1, ...marks.map(({ value }) => value));
  const options: uPlot.Options = {
    width: box.clientWidth,
    height,
    padding: [8, 4, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: !isStepped }, drag: { x: false, y: false } },
    // Above a mark its name has room.
    scales: { x: { time: true }, y: { range: (_, __, max) => [0, Math.max(max * 1.1, markMax * 1.25)] } },
    axes: [
      { ...axis, grid: { show: false }, size: 24, space: 90, values: timeLabels },
      {
        ...axis,
        grid: { stroke: token("--border"), width: 1 },
        size: 44,
        space: 32,
        incrs: isStepped ? WHOLE : undefined,
        values: (_, ticks) => ticks.map(format),
      },
    ],
    series: [
      {},
      ...lines.map(({ name, colour }) => ({
        label: name,
        stroke: token(colour),
        width: 1.5,
        ...(isStepped
          ? { paths: uPlot.paths.stepped?.({ align: 1 }), points: { show: false }, fill: `${token(colour)}24` }
          : // A single value between gaps is a point: a line alone would leave it out.
            { points: { show: true, size: 4, fill: token(colour) } }),
      })),
    ],
    hooks: {
      draw: [(u) => drawMarks(u, marks, { stroke: token("--muted"), font })],
      setCursor: [
        (u) => {
          const { left = -1, idx } = u.cursor;
          const found = isStepped ? Math.floor((u.posToVal(left, "x") * 1_000 - (times[0] ?? 0)) / bucketMs) : idx;
          const at = (u.over.offsetLeft + left) / box.clientWidth;
          hover(left < 0 || found == null ? null : { place: Math.min(found, times.length - 1), at });
        },
      ],
    },
  };
  const xs = times.map((at) => at / 1_000);
  const ys = lines.map(({ values }) => values);
  if (!isStepped) return new uPlot(options, [xs, ...ys], box);
  // The last step is as wide as the others.
  const end = ((times.at(-1) ?? 0) + bucketMs) / 1_000;
  return new uPlot(options, [[...xs, end], ...ys.map((values) => [...values, values.at(-1) ?? null])], box);
}

/** How far apart the lines of a grid of counts may be: there is no half a call. */
const WHOLE = [1, 2, 5]
  .flatMap((digit) => [...Array(10).keys()].map((zeros) => digit * 10 ** zeros))
  .sort((a, b) => a - b);

/** Draw each mark as a dashed line over the whole width, with its name above its end. */
function drawMarks(u: uPlot, marks: Mark[], { stroke, font }: { stroke: string; font: string }) {
  const { ctx, bbox } = u;
  const ratio = uPlot.pxRatio;
  ctx.save();
  ctx.strokeStyle = stroke;
  ctx.fillStyle = stroke;
  ctx.lineWidth = ratio;
  ctx.font = font.replace("11px", `${11 * ratio}px`);
  ctx.textAlign = "right";
  ctx.textBaseline = "bottom";
  ctx.setLineDash([4 * ratio, 3 * ratio]);
  for (const { name, value } of marks) {
    const y = Math.round(u.valToPos(value, "y", true));
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.fillText(name, bbox.left + bbox.width - 2 * ratio, y - 2 * ratio);
  }
  ctx.restore();
}
