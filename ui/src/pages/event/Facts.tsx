import { Link } from "@tanstack/react-router";
import type { EventDetail } from "~/api/api.gen";
import { CopyButton } from "~/parts/CopyButton";
import { exact } from "~/parts/instant";
import { Time } from "~/parts/Time";
import s from "./Facts.module.css";

/** What is known of an event, beside what it says. */
export function Facts({ event }: { event: EventDetail }) {
  return (
    <dl className={s.facts}>
      <dt>Received</dt>
      <dd>
        <Time at={event.received_at} /> <span className={s.exact}>{exact(event.received_at)}</span>
      </dd>
      {event.ts !== event.received_at && (
        <>
          <dt>Happened</dt>
          <dd>
            <Time at={event.ts} /> <span className={s.exact}>{exact(event.ts)}</span>
          </dd>
        </>
      )}
      <dt>Id</dt>
      <dd>
        <code>{event.id}</code> <CopyButton text={() => event.id} label="Copy the id" />
      </dd>
      {event.event_id !== event.id && (
        <>
          <dt>Sender's id</dt>
          <dd>
            <code>{event.event_id}</code>
          </dd>
        </>
      )}
      {event.v && (
        <>
          <dt>Version</dt>
          <dd>
            <code>{event.v}</code>
          </dd>
        </>
      )}
      <dt>Sent by</dt>
      <dd>
        <Sender event={event} />
      </dd>
      <dt>All of its name</dt>
      <dd>
        <Link to="/events" search={{ q: `event: ${event.name}` }}>
          Events
        </Link>{" "}
        ·{" "}
        <Link to="/runs" search={{ q: `event: ${event.name}` }}>
          Runs
        </Link>
      </dd>
    </dl>
  );
}

function Sender({ event }: { event: EventDetail }) {
  if (event.sent_by) {
    const { run_id: id, step } = event.sent_by;
    return (
      <>
        {step && <span>step {step} of</span>}
        <Link to="/runs/$id" params={{ id }}>
          run <code>{id}</code>
        </Link>
      </>
    );
  }
  return event.is_internal ? "the server itself" : "an app, or by hand";
}
