import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Check } from "lucide-react";
import type { TakenEvent, TakenEvents } from "~/api/api.gen";
import { read } from "~/api/query";
import { functionNames } from "~/lists/triggers";
import s from "./send.module.css";

type Props = { taken: TakenEvents; onLeave?: () => void };

/** What became of the events: each with a link to it, and to the runs that it started. */
export function Result({ taken: { events }, onLeave }: Props) {
  const functions = useQuery(read("GET /api/functions", {})).data?.items;
  const names = functionNames(functions);
  return (
    <section className={s.result} aria-label="Sent" aria-live="polite">
      {events.map((event) => (
        <div key={event.id} className={s.sent}>
          <p>
            <Check size={14} aria-hidden />
            <Link to="/events/$id" params={{ id: event.id }} onClick={onLeave}>
              {event.name}
            </Link>{" "}
            was sent{event.runs.length === 0 ? <Nothing event={event} onLeave={onLeave} /> : ", and started"}
          </p>
          <ul>
            {event.runs.map((run) => (
              <li key={run.id}>
                <Link to="/runs/$id" params={{ id: run.id }} onClick={onLeave}>
                  {names.get(run.function) ?? run.function}
                </Link>
                {run.is_skipped && <span className={s.hint}> skipped: see why</span>}
              </li>
            ))}
          </ul>
        </div>
      ))}
    </section>
  );
}

function Nothing({ event, onLeave }: { event: TakenEvent; onLeave: (() => void) | undefined }) {
  return (
    <>
      , and started nothing.{" "}
      <Link to="/events/$id" params={{ id: event.id }} onClick={onLeave}>
        See why
      </Link>
    </>
  );
}
