import type { UseQueryResult } from "@tanstack/react-query";
import { useMemo } from "react";
import type { FunctionStats } from "~/api/api.gen";
import type { ApiError } from "~/api/client";
import { ErrorState, Note, Skeleton } from "~/parts/ErrorState";
import { Lines } from "~/parts/Lines";
import { StackedBars } from "~/parts/StackedBars";
import { took } from "../functions/numbers";
import s from "./function.module.css";
import { Backlog, Concurrency, Quiet } from "./Work";

const HEIGHT_PX = 120;

/** Runs by how they ended, how long they took, what waited and what was in progress. */
export function Charts({ stats }: { stats: UseQueryResult<FunctionStats, ApiError> }) {
  const { data } = stats;
  const drawn = useMemo(() => (data ? seriesOf(data) : null), [data]);
  if (stats.isError) return <ErrorState error={stats.error} retry={() => stats.refetch()} />;
  if (!drawn || !data) return <Skeleton lines={5} />;
  return (
    <>
      {data.counted_from && (
        <Note kind="partial">
          There were too many runs to count those that ended before {local(data.counted_from)}.
        </Note>
      )}
      <div className={s.charts}>
        <section className={s.card} aria-label="Runs by status">
          <h2>Ended runs</h2>
          {drawn.runs.some(({ values }) => values.some((value) => value > 0)) ? (
            <StackedBars
              label="Ended runs by status over time"
              times={drawn.times}
              bucketMs={drawn.bucketMs}
              layers={drawn.runs}
              height={HEIGHT_PX}
            />
          ) : (
            <Quiet height={HEIGHT_PX} words="No run has ended in this time." />
          )}
        </section>
        <section className={s.card} aria-label="Time taken">
          <h2>Time from start to end</h2>
          {data.buckets.some(({ p50_ms }) => p50_ms !== null) ? (
            <Lines
              label="Time that completed runs took, p50 and p95"
              times={drawn.times}
              bucketMs={drawn.bucketMs}
              lines={drawn.latency}
              height={HEIGHT_PX}
              format={took}
            />
          ) : (
            <Quiet height={HEIGHT_PX} words="No run has completed in this time." />
          )}
        </section>
        <Backlog stats={data} times={drawn.times} bucketMs={drawn.bucketMs} height={HEIGHT_PX} />
        <Concurrency stats={data} times={drawn.times} bucketMs={drawn.bucketMs} height={HEIGHT_PX} />
      </div>
    </>
  );
}

function seriesOf({ buckets }: FunctionStats) {
  const status = (name: "completed" | "failed" | "cancelled" | "skipped") => ({
    name,
    colour: `--${name}-solid`,
    values: buckets.map((bucket) => bucket[name] ?? 0),
  });
  const times = buckets.map(({ at }) => Date.parse(at));
  return {
    times,
    bucketMs: (times[1] ?? 0) - (times[0] ?? 0),
    runs: [status("completed"), status("failed"), status("cancelled"), status("skipped")],
    latency: [
      { name: "p50", colour: "--running-solid", values: buckets.map(({ p50_ms }) => p50_ms) },
      { name: "p95", colour: "--waiting-solid", values: buckets.map(({ p95_ms }) => p95_ms) },
    ],
  };
}

function local(at: string): string {
  return new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
