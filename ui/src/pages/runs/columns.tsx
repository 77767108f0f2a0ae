import { Link } from "@tanstack/react-router";
import type { RunSummary } from "~/api/api.gen";
import type { Column } from "~/lists/GridRow";
import { triggerWords } from "~/lists/triggers";
import { durationText } from "~/parts/duration";
import { StatusBadge } from "~/parts/StatusBadge";
import { Time, useNow } from "~/parts/Time";
import s from "./columns.module.css";

export const COLUMNS: readonly Column<RunSummary>[] = [
  { name: "Status", width: "96px", area: "lead", cell: (run) => <StatusBadge status={run.status} /> },
  {
    name: "Function",
    width: "minmax(140px, 1.1fr)",
    area: "title",
    cell: (run) => (
      <span className={s.name}>
        <Link to="/runs/$id" params={{ id: run.id }} className={s.link} title={run.id} tabIndex={-1}>
          {run.function_name}
        </Link>
        <span className={s.app}>{run.app}</span>
      </span>
    ),
  },
  {
    name: "Trigger",
    width: "minmax(110px, 0.8fr)",
    cell: (run) => <Trigger name={run.event_name} />,
  },
  {
    name: "Queued",
    width: "84px",
    area: "side",
    cell: (run) => (
      <span className={s.time}>
        <Time at={run.queued_at} />
      </span>
    ),
  },
  {
    name: "Duration",
    width: "104px",
    area: "aside",
    isNumeric: true,
    cell: (run) => <Took run={run} />,
  },
  {
    name: "Error, or the event's data",
    width: "minmax(160px, 2fr)",
    area: "under",
    cell: (run) => <Line run={run} />,
  },
];

/** How a run is called, for those who hear it. */
export function nameOf(run: RunSummary): string {
  return `${run.function_name} ${run.id}, ${run.status}`;
}

/** Why runs were skipped or cancelled. */
const REASONS: Record<string, string> = {
  api: "by hand, or the API",
  event: "by an event",
  singleton: "another run of a singleton",
  start_timeout: "had not started in time",
  finish_timeout: "had not ended in time",
  duplicate_event_id: "same event id as before",
  idempotency: "same idempotency key as before",
  paused: "the function was paused",
  archived: "the function was removed",
};

function Trigger({ name }: { name: string }) {
  const ours = triggerWords(name);
  return (
    <span className={ours ? s.ours : s.event} title={name}>
      {ours ?? name}
    </span>
  );
}

function Took({ run }: { run: RunSummary }) {
  if (run.duration_ms !== null) return <span className={s.took}>{durationText(run.duration_ms)}</span>;
  if (run.started_at && run.status === "running") return <TakesNow since={run.started_at} />;
  return <span className={s.none}>–</span>;
}

function TakesNow({ since }: { since: string }) {
  const now = useNow();
  return <span className={s.running}>{durationText(Math.max(0, now - Date.parse(since)))}</span>;
}

function Line({ run }: { run: RunSummary }) {
  if (run.error) {
    return (
      <span className={s.error} title={run.error}>
        {run.error}
      </span>
    );
  }
  return (
    <>
      {run.reason && <span className={s.reason}>{REASONS[run.reason] ?? run.reason.replaceAll("_", " ")}</span>}
      {run.original_run_id && <span className={s.again}>again</span>}
      <span className={s.data} title={run.event_preview ?? undefined}>
        {run.event_preview}
      </span>
      <span className={s.phone}>
        <Trigger name={run.event_name} />
      </span>
    </>
  );
}
