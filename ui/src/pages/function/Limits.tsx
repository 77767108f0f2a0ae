import type { FunctionStats, LimitUse } from "~/api/api.gen";
import { percent, short } from "../functions/numbers";
import s from "./function.module.css";

type Props = { stats: FunctionStats | undefined; span: string };

/** What waits, what is in progress, how runs ended in the time shown, and how much of each concurrency limit is in use. */
export function Limits({ stats, span }: Props) {
  if (!stats) return null;
  const sum = (status: "completed" | "failed") =>
    stats.buckets.reduce((total, bucket) => total + (bucket[status] ?? 0), 0);
  const [completed, failed] = [sum("completed"), sum("failed")];
  return (
    <section className={s.now} aria-label="Now">
      <dl className={s.counts}>
        <div>
          <dt>Backlog</dt>
          <dd>{stats.backlog.toLocaleString()}</dd>
        </div>
        <div>
          <dt>Running</dt>
          <dd>{stats.running.toLocaleString()}</dd>
        </div>
        <div>
          <dt>Completed, {span}</dt>
          <dd>{short(completed)}</dd>
        </div>
        <div>
          <dt>Failed, {span}</dt>
          <dd className={failed > 0 ? s.bad : undefined}>
            {short(failed)} {failed > 0 && <small>{percent(failed / (completed + failed))}</small>}
          </dd>
        </div>
      </dl>
      {stats.limits.length > 0 && (
        <ul className={s.limits} aria-label="Concurrency limits">
          {stats.limits.map((limit) => (
            <Limit key={`${limit.of} ${limit.scope} ${limit.key} ${limit.value}`} limit={limit} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Limit({ limit: { key, value, of, scope, limit, used } }: { limit: LimitUse }) {
  const words = `${used} of ${limit} ${of} in use`;
  return (
    <li>
      <span className={s.limitName}>
        {key ? <code>{key}</code> : of === "runs" ? "Runs at a time" : "Steps at a time"}
        {value && <em title="A hash of the key's value"> {value.slice(0, 8)}</em>}
        {scope !== "fn" && <em> shared in the {scope === "env" ? "environment" : "account"}</em>}
      </span>
      {/* biome-ignore lint/a11y/useSemanticElements: browsers paint a <meter> their own way */}
      <span
        className={s.meter}
        role="meter"
        aria-label={words}
        aria-valuemin={0}
        aria-valuemax={limit}
        aria-valuenow={Math.min(used, limit)}
        data-full={used >= limit}
      >
        <i style={{ width: `${Math.min(100, (used / limit) * 100)}%` }} />
      </span>
      <span className={s.hint}>{words}</span>
    </li>
  );
}
