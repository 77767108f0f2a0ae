import { Link } from "@tanstack/react-router";
import { CornerDownRight, Send } from "lucide-react";
import type { ReactNode } from "react";
import type { RunPageView, TimelineRow } from "~/api/api.gen";
import { StatusDot } from "~/parts/StatusBadge";
import s from "./Family.module.css";

/** What a run came from and what came of it, as a tree of links. */
export function Family({ run, rows }: { run: RunPageView; rows: TimelineRow[] }) {
  const self = (
    <li className={s.node}>
      <Run id={run.id} name={run.function} status={run.status} note="this run" isSelf />
      {(run.children.length > 0 || run.sent_events.length > 0) && (
        <ul className={s.branch}>
          {run.children.map((child) => (
            <li key={child.run_id} className={s.node}>
              <Run id={child.run_id} name={child.function} status={child.status} note={`invoked by ${child.step}`} />
            </li>
          ))}
          {run.sent_events.map((event) => (
            <li key={event.id} className={s.node}>
              <span className={s.item}>
                <Send size={13} aria-hidden />
                <Link to="/events/$id" params={{ id: event.id }}>
                  {event.name}
                </Link>
                <small>sent by {titleOf(rows, event.step)}</small>
              </span>
            </li>
          ))}
        </ul>
      )}
    </li>
  );
  return (
    <ul className={s.tree} aria-label="Family">
      {run.parent ? (
        <Below
          above={
            <Run
              id={run.parent.run_id}
              name={run.parent.function}
              status={run.parent.status}
              note={`its step ${run.parent.step} invoked this`}
            />
          }
        >
          {self}
        </Below>
      ) : run.original_run_id ? (
        <Below above={<Run id={run.original_run_id} name={run.function} note="this does it again" />}>{self}</Below>
      ) : (
        <Below above={<EventNode run={run} />}>{self}</Below>
      )}
    </ul>
  );
}

function Below({ above, children }: { above: ReactNode; children: ReactNode }) {
  return (
    <li className={s.node}>
      {above}
      <ul className={s.branch}>{children}</ul>
    </li>
  );
}

function EventNode({ run }: { run: RunPageView }) {
  return (
    <span className={s.item}>
      <CornerDownRight size={13} aria-hidden />
      <Link to="/events/$id" params={{ id: run.event_id }}>
        {run.event_name}
      </Link>
      <small>the event that started it</small>
    </span>
  );
}

type RunProps = { id: string; name: string; status?: RunPageView["status"]; note: string; isSelf?: boolean };

function Run({ id, name, status, note, isSelf = false }: RunProps) {
  return (
    <span className={s.item} data-self={isSelf || undefined}>
      {status && <StatusDot status={status} />}
      {isSelf ? (
        <strong>{name}</strong>
      ) : (
        <Link to="/runs/$id" params={{ id }}>
          {name}
        </Link>
      )}
      <small>{note}</small>
    </span>
  );
}

function titleOf(rows: TimelineRow[], step: string): string {
  return rows.find((row) => row.step_id === step)?.title ?? step;
}
