import type { UseQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { RunPage } from "~/api/api.gen";
import type { ApiError } from "~/api/client";
import { ErrorState, Skeleton } from "~/parts/ErrorState";
import { StatusBadge } from "~/parts/StatusBadge";
import { Time } from "~/parts/Time";
import { took } from "../functions/numbers";
import s from "./function.module.css";

export function RecentRuns({ slug, query }: { slug: string; query: UseQueryResult<RunPage, ApiError> }) {
  return (
    <section className={s.card} aria-label="Recent runs">
      <h2>Recent runs</h2>
      {query.isPending && <Skeleton lines={5} />}
      {query.isError && <ErrorState error={query.error} retry={() => query.refetch()} />}
      {query.data?.items.length === 0 && <p className={s.hint}>It hasn't run yet.</p>}
      <ul>
        {query.data?.items.map((run) => (
          <li key={run.id}>
            <Link to="/runs/$id" params={{ id: run.id }} className={s.recent}>
              <StatusBadge status={run.status} />
              <span className={s.error}>{run.error ?? run.event_name}</span>
              <span className={s.hint}>{run.duration_ms !== null && took(run.duration_ms)}</span>
              <span className={s.hint}>
                <Time at={run.queued_at} />
              </span>
            </Link>
          </li>
        ))}
      </ul>
      {(query.data?.items.length ?? 0) > 0 && (
        <Link to="/runs" search={{ function: slug }}>
          All its runs
        </Link>
      )}
    </section>
  );
}
