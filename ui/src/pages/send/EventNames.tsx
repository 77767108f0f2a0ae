import type { UseQueryResult } from "@tanstack/react-query";
import { useState } from "react";
import type { EventName, EventNames as Names } from "~/api/api.gen";
import type { ApiError } from "~/api/client";
import { Skeleton } from "~/parts/ErrorState";
import { Time } from "~/parts/Time";
import s from "./send.module.css";

type Props = { query: UseQueryResult<Names, ApiError>; choose: (one: EventName) => void };

/** Names that came lately, then those that only triggers have; choosing one begins with its latest event. */
export function EventNames({ query, choose }: Props) {
  const [part, setPart] = useState("");
  const items = query.data?.items ?? [];
  const found = items.filter(({ name }) => name.toLowerCase().includes(part.toLowerCase()));
  return (
    <section className={s.names} aria-label="Names of events">
      <input
        type="search"
        aria-label="Search names"
        placeholder="Start from a recent event"
        value={part}
        onChange={(event) => setPart(event.target.value)}
        className={s.search}
      />
      {query.isPending && <Skeleton lines={4} />}
      {query.isError && <p className={s.hint}>Recent names can't be shown: {query.error.message}</p>}
      {query.isSuccess && found.length === 0 && (
        <p className={s.hint}>
          {items.length === 0 ? "No events came yet, and no function waits for one." : "No such name."}
        </p>
      )}
      <ul>
        {found.map((one) => (
          <li key={one.name}>
            <button type="button" className={s.name} onClick={() => choose(one)}>
              <code>{one.name}</code>
              <span>
                {one.last_at ? <Time at={one.last_at} /> : "not sent lately"}
                {one.functions.length > 0 && ` · starts ${one.functions.length}`}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
