import type { UseQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Failures as Found } from "~/api/api.gen";
import type { ApiError } from "~/api/client";
import { ErrorState, Note, Skeleton } from "~/parts/ErrorState";
import { Time } from "~/parts/Time";
import s from "./function.module.css";

/** What it fails with: the same error, but for ids and numbers in it, is one group. */
export function Failures({ query }: { query: UseQueryResult<Found, ApiError> }) {
  return (
    <section className={s.card} aria-label="Failures">
      <h2>Failures by error</h2>
      {query.isPending && <Skeleton lines={4} />}
      {query.isError && <ErrorState error={query.error} retry={() => query.refetch()} />}
      {query.data?.counted_from && <Note kind="partial">Only the newest failed runs are grouped.</Note>}
      {query.data?.groups.length === 0 && <p className={s.hint}>None of its runs that are kept has failed.</p>}
      <ul>
        {query.data?.groups.map((group) => (
          <li key={group.fingerprint} className={s.failure}>
            <span className={s.times}>{group.count.toLocaleString()}×</span>
            <div>
              <p className={s.error}>{group.error}</p>
              <p className={s.hint}>
                last seen <Time at={group.last_at} />
                {group.count > 1 && (
                  <>
                    , first <Time at={group.first_at} />
                  </>
                )}{" "}
                ·{" "}
                {group.run_ids.map((id) => (
                  <Link key={id} to="/runs/$id" params={{ id }} className={s.run} title={id}>
                    …{id.slice(-5)}
                  </Link>
                ))}
              </p>
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}
