import { Link } from "@tanstack/react-router";
import type { EventDetail } from "~/api/api.gen";
import { Note } from "~/parts/ErrorState";
import s from "./Outcomes.module.css";

/** As many as the server tells of. */
const WAITS_MAX = 100;

type Props = { waits: EventDetail["resolved_waits"]; names: ReadonlyMap<string, string> };

/** The steps of other runs that waited for this event. */
export function Waits({ waits, names }: Props) {
  if (waits.length === 0) return null;
  return (
    <section className={s.section} aria-labelledby="event-waits">
      <h2 id="event-waits">Waits that it ended</h2>
      <ul className={s.list}>
        {waits.map(({ run_id: id, step, function: slug }) => (
          <li key={`${id} ${step}`} className={s.outcome}>
            <div className={s.line}>
              <span className={s.kind}>{step}</span>
              <Link to="/runs/$id" params={{ id }} className={s.function}>
                {names.get(slug) ?? slug}
              </Link>
              <code className={s.id}>{id}</code>
            </div>
          </li>
        ))}
      </ul>
      {waits.length >= WAITS_MAX && <Note kind="truncated">There may be more waits than these {WAITS_MAX}.</Note>}
    </section>
  );
}
