import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { RunPageView } from "~/api/api.gen";
import { triggerWords } from "~/lists/triggers";
import { CopyButton } from "~/parts/CopyButton";
import { durationText } from "~/parts/duration";
import { exact } from "~/parts/instant";
import { StatusBadge } from "~/parts/StatusBadge";
import { Up } from "~/parts/Up";
import type { Frame } from "./frame";
import s from "./Head.module.css";
import { Ticking } from "./Ticking";
import { clock, dayOf } from "./words";

/** What run this is, in one line. */
export function Title({ run }: { run: RunPageView }) {
  return (
    <div className={s.title}>
      <Up to="/runs" name="Runs" />
      <StatusBadge status={run.status} />
      <h1>
        <Link to="/functions/$slug" params={{ slug: run.function }}>
          {run.function_name}
        </Link>
      </h1>
      <span className={s.id}>
        <code>{run.id}</code>
        <CopyButton label="Copy run id" text={() => run.id} />
      </span>
    </div>
  );
}

/** When it ran, for which event, at which version. */
export function Facts({ run, frame }: { run: RunPageView; frame: Frame }) {
  const queued = Date.parse(run.queued_at);
  const words = triggerWords(run.event_name);
  const started = run.started_at === null ? null : Date.parse(run.started_at) - queued;
  const ended = run.ended_at === null ? null : Date.parse(run.ended_at) - queued;
  return (
    <dl className={s.facts}>
      {!run.parent && (
        <Fact name={words ? "Started by" : "Event"}>
          <Link to="/events/$id" params={{ id: run.event_id }}>
            {words ?? run.event_name}
          </Link>
        </Fact>
      )}
      <Fact name="App">{run.app}</Fact>
      <Fact name="Version">{run.function_version}</Fact>
      <Fact name="Queued">
        <time dateTime={run.queued_at} title={exact(run.queued_at)}>
          {dayOf(run.queued_at)}
          {clock(run.queued_at)}
        </time>
      </Fact>
      {started !== null && <Fact name="Started">after {durationText(started)}</Fact>}
      {run.status !== "skipped" && (
        <Fact name={ended === null ? "So far" : "Took"}>
          <Ticking frame={frame} from={started ?? 0} to={ended} />
        </Fact>
      )}
      {run.parent && (
        <Fact name="Invoked by">
          <Link to="/runs/$id" params={{ id: run.parent.run_id }}>
            {run.parent.function}
          </Link>
        </Fact>
      )}
      {run.original_run_id && (
        <Fact name="Rerun of">
          <Link to="/runs/$id" params={{ id: run.original_run_id }}>
            {run.original_run_id}
          </Link>
        </Fact>
      )}
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
