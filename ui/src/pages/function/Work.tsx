import { useMemo } from "react";
import type { FunctionStats, LimitUse } from "~/api/api.gen";
import { Lines, type Mark } from "~/parts/Lines";
import { short } from "../functions/numbers";
import s from "./function.module.css";

const SELDOM = "It is looked at every few seconds; what is shorter may not be seen.";

type Props = { stats: FunctionStats; times: number[]; bucketMs: number; height: number };

/** The most that waited at a time. */
export function Backlog({ stats: { buckets }, times, bucketMs, height }: Props) {
  const lines = useMemo(
    () => [{ name: "waiting", colour: "--waiting-solid", values: buckets.map(({ backlog }) => backlog) }],
    [buckets],
  );
  const most = Math.max(0, ...buckets.map(({ backlog }) => backlog));
  return (
    <section className={s.card} aria-label="Backlog over time">
      <h2>Backlog</h2>
      {most === 0 ? (
        <Quiet hint={SELDOM} height={height} words="Nothing has waited for its turn." />
      ) : (
        <Lines
          label={`Calls that waited for their turn over time, ${most.toLocaleString()} at most`}
          times={times}
          bucketMs={bucketMs}
          lines={lines}
          height={height}
          format={short}
          isStepped
        />
      )}
    </section>
  );
}

/** The most that was in progress at a time, with the limits of it that the function has for itself. */
export function Concurrency({ stats: { buckets, limits }, times, bucketMs, height }: Props) {
  const own = useMemo(() => limits.filter(({ key, scope }) => key === null && scope === "fn"), [limits]);
  const hasRuns = own.some(isOfRuns);
  const lines = useMemo(() => {
    const steps = { name: "steps", colour: "--running-solid", values: buckets.map(({ running }) => running) };
    const runs = { name: "runs", colour: "--completed-solid", values: buckets.map((bucket) => bucket.runs_running) };
    return hasRuns ? [steps, runs] : [steps];
  }, [buckets, hasRuns]);
  const marks = useMemo(() => own.map(markOf), [own]);
  const most = Math.max(0, ...lines.flatMap(({ values }) => values));
  const said = marks.map(({ name }) => `, ${name}`).join("");
  return (
    <section className={s.card} aria-label="Concurrency over time">
      <h2>Concurrency in use</h2>
      {most === 0 ? (
        <Quiet hint={SELDOM} height={height} words="Nothing was seen in progress." />
      ) : (
        <Lines
          label={`Steps in progress over time, ${most.toLocaleString()} at most${said}`}
          times={times}
          bucketMs={bucketMs}
          lines={lines}
          marks={marks}
          height={height}
          format={short}
          isStepped
        />
      )}
    </section>
  );
}

function isOfRuns({ of }: LimitUse): boolean {
  return of === "runs";
}

function markOf({ of, limit }: LimitUse): Mark {
  return { name: `limit: ${limit.toLocaleString()} ${limit === 1 ? of.replace(/s$/, "") : of}`, value: limit };
}

/** In place of a chart that would be empty. */
export function Quiet({ height, words, hint }: { height: number; words: string; hint?: string }) {
  return (
    <div className={s.quiet} style={{ minHeight: height }}>
      <p>{words}</p>
      {hint && <p className={s.hint}>{hint}</p>}
    </div>
  );
}
