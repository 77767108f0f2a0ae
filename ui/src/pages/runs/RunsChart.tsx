import { lazy, Suspense, useMemo } from "react";
import type { RunsStats } from "~/api/api.gen";
import type { ApiError } from "~/api/client";
import { percent } from "~/pages/functions/numbers";
import { Note } from "~/parts/ErrorState";
import { exact } from "~/parts/instant";
import type { Layer } from "~/parts/StackedBars";
import s from "./RunsChart.module.css";

const StackedBars = lazy(() => import("~/parts/StackedBars").then((m) => ({ default: m.StackedBars })));

const HEIGHT_PX = 84;
const ORDER = ["completed", "skipped", "cancelled", "failed"] as const;

type Props = {
  stats: RunsStats | undefined;
  error: ApiError | null;
  /** Of which time it is. */
  span: string;
  /** The list is searched, and these numbers are of more runs than it. */
  isSearched: boolean;
  onRange: (fromMs: number, untilMs: number) => void;
};

/** Runs that ended, over time. Dragging over it chooses a time. */
export function RunsChart({ stats, error, span, isSearched, onRange }: Props) {
  const times = useMemo(() => stats?.buckets.map((bucket) => Date.parse(bucket.at)) ?? [], [stats]);
  const layers = useMemo<Layer[]>(
    () =>
      ORDER.map((name) => ({
        name,
        colour: `--${name}-solid`,
        values: stats?.buckets.map((bucket) => bucket[name] ?? 0) ?? [],
      })),
    [stats],
  );
  if (error && !stats) {
    return (
      <div className={s.chart} role="alert">
        <p className={s.failed}>The runs couldn't be counted: {error.message}</p>
      </div>
    );
  }
  const { completed = 0, failed = 0 } = stats?.totals ?? {};
  const rate = completed + failed > 0 ? failed / (completed + failed) : 0;
  return (
    <div className={s.chart}>
      <div className={s.head}>
        <span>
          Ended runs, {span.toLowerCase()}
          {isSearched && ", whatever is searched for"}
        </span>
        {stats && completed + failed > 0 && (
          <span className={failed ? s.failures : undefined}>{percent(rate)} failed</span>
        )}
        <span className={s.help}>Drag over the chart to choose a time</span>
      </div>
      <Suspense fallback={<div style={{ height: HEIGHT_PX }} />}>
        {stats ? (
          <StackedBars
            label={`Ended runs over time: ${completed.toLocaleString("en")} completed, ${failed.toLocaleString("en")} failed`}
            times={times}
            bucketMs={stats.bucket_ms}
            layers={layers}
            height={HEIGHT_PX}
            onRange={onRange}
          />
        ) : (
          <div className={s.bone} style={{ height: HEIGHT_PX }} role="status" aria-label="Loading the chart" />
        )}
      </Suspense>
      {stats?.counted_from && (
        <Note kind="partial">
          There are too many to count: those that ended before{" "}
          <time dateTime={stats.counted_from}>{exact(stats.counted_from)}</time> aren't in these numbers. Choose a
          shorter time to count all of it.
        </Note>
      )}
    </div>
  );
}
