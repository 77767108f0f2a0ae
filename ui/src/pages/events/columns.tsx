import { Link } from "@tanstack/react-router";
import { Hourglass, TriangleAlert } from "lucide-react";
import type { CausedRunView, EventSummary, GatheringView } from "~/api/api.gen";
import type { Column } from "~/lists/GridRow";
import { StatusDot } from "~/parts/StatusBadge";
import { Time } from "~/parts/Time";
import s from "./columns.module.css";
import { AWAITED, type Near } from "./useNearNames";

/** Runs that a row names; of more, it says how many. */
const RUNS_SHOWN = 4;

/** `names` has functions' names by their slugs. */
export function columns(
  near: ReadonlyMap<string, Near>,
  names: ReadonlyMap<string, string>,
): readonly Column<EventSummary>[] {
  return [
    {
      name: "Name",
      width: "minmax(160px, 1fr)",
      area: "title",
      cell: (event) => (
        <Link to="/events/$id" params={{ id: event.id }} className={s.name} title={event.id} tabIndex={-1}>
          {event.name}
        </Link>
      ),
    },
    {
      name: "Data",
      width: "minmax(0, 1.6fr)",
      cell: (event) => (
        <span className={s.data} title={event.preview ?? undefined}>
          {event.preview ?? <span className={s.none}>large</span>}
        </span>
      ),
    },
    {
      name: "Received",
      width: "84px",
      area: "side",
      cell: (event) => (
        <span className={s.quiet}>
          <Time at={event.received_at} />
        </span>
      ),
    },
    {
      name: "Runs",
      width: "minmax(200px, 1.8fr)",
      area: "under",
      cell: (event) => <Caused event={event} near={near.get(event.name)} names={names} />,
    },
  ];
}

/** How an event is called, for those who hear it. */
export function nameOf(event: EventSummary): string {
  return `${event.name} ${event.id}`;
}

type CausedProps = { event: EventSummary; near: Near | undefined; names: ReadonlyMap<string, string> };

function Caused({ event, near, names }: CausedProps) {
  const count = event.runs.length + event.gatherings.length;
  if (count > 0) {
    const runs = event.runs.slice(0, RUNS_SHOWN);
    const more = count - RUNS_SHOWN;
    return (
      <span className={s.runs}>
        {runs.map((run) => (
          <Badge key={run.id} run={run} name={names.get(run.function)} />
        ))}
        {event.gatherings.slice(0, RUNS_SHOWN - runs.length).map((one) => (
          <Waiting key={one.run_id} gathering={one} name={names.get(one.function)} />
        ))}
        {more > 0 && <span className={s.quiet}>and {more} more</span>}
      </span>
    );
  }
  if (near === AWAITED) return <span className={s.none}>starts none, but runs wait for it</span>;
  if (!near) return <span className={s.none}>{event.is_internal ? "–" : "started none"}</span>;
  const [like] = near;
  if (!like) return <span className={s.none}>no function has this trigger</span>;
  return (
    <span className={s.warning}>
      <TriangleAlert size={13} aria-hidden /> Starts nothing. Did you mean <code>{like}</code>?
    </span>
  );
}

function Badge({ run, name = run.function }: { run: CausedRunView; name: string | undefined }) {
  return (
    <Link
      to="/runs/$id"
      params={{ id: run.id }}
      className={s.badge}
      data-status={run.status}
      title={`${run.function}: ${run.status}`}
      tabIndex={-1}
    >
      <StatusDot status={run.status} />
      <span className={s.function}>{name}</span>
    </Link>
  );
}

const WAITS: Record<GatheringView["kind"], string> = { batch: "in a batch", debounce: "in a debounce" };

/** What has no run yet: the event waits for others. */
function Waiting({ gathering, name = gathering.function }: { gathering: GatheringView; name: string | undefined }) {
  return (
    <Link
      to="/functions/$slug"
      params={{ slug: gathering.function }}
      className={s.badge}
      title={`${gathering.function}: waits ${WAITS[gathering.kind]}`}
      tabIndex={-1}
    >
      <Hourglass size={12} className={s.hourglass} aria-hidden />
      <span className={s.function}>{name}</span>
      <span className={s.quiet}>{WAITS[gathering.kind]}</span>
    </Link>
  );
}
