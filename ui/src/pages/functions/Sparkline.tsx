import s from "./Sparkline.module.css";

const HEIGHT = 24;
const BAR = 4;
const GAP = 1;

/** Ended runs of each hour, oldest first: those that failed stand red on the others. */
export function Sparkline({ buckets, label }: { buckets: [number, number][]; label: string }) {
  const most = Math.max(1, ...buckets.map(([ok, failed]) => ok + failed));
  const width = buckets.length * (BAR + GAP) - GAP;
  return (
    <svg className={s.line} viewBox={`0 0 ${width} ${HEIGHT}`} role="img" aria-label={label} preserveAspectRatio="none">
      {buckets.map(([ok, failed], hour) => {
        const x = hour * (BAR + GAP);
        const okHeight = height(ok, most);
        const failedHeight = height(failed, most);
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: an hour is its place
          <g key={hour}>
            <rect x={x} width={BAR} y={HEIGHT - 1} height={1} className={s.none} />
            <rect x={x} width={BAR} y={HEIGHT - okHeight} height={okHeight} className={s.ok} />
            <rect x={x} width={BAR} y={HEIGHT - okHeight - failedHeight} height={failedHeight} className={s.failed} />
          </g>
        );
      })}
    </svg>
  );
}

/** What is there is seen: at least 2 of the chart's units. */
function height(count: number, most: number): number {
  return count === 0 ? 0 : Math.max(2, (count / most) * (HEIGHT - 2));
}
