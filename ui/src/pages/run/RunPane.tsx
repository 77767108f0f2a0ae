import { useQuery } from "@tanstack/react-query";
import type { RunPageView, TimelineRow } from "~/api/api.gen";
import { fill } from "~/api/client";
import { read } from "~/api/query";
import { plain, sentences } from "~/pages/function/sentences";
import { JsonView } from "~/parts/code/JsonView";
import { ErrorState, Skeleton } from "~/parts/ErrorState";
import { ErrorView } from "./ErrorView";
import { Family } from "./Family";
import { Pane, type PaneTab } from "./Pane";
import s from "./Pane.module.css";
import { Lazy, Waiting } from "./Payload";
import { Fact } from "./RowPane";
import type { Tab } from "./search";
import { clock, dayOf } from "./words";

type Props = { run: RunPageView; rows: TimelineRow[]; tab: Tab | undefined; onTab: (tab: Tab | undefined) => void };

/** All about the run itself: what started it, what came of it, how it was configured, what it is related to. */
export function RunPane({ run, rows, tab, onTab }: Props) {
  const tabs: PaneTab[] = [];
  if (run.error) tabs.push({ id: "error", name: "Error", content: <ErrorView error={run.error} /> });
  if (run.status === "completed" && run.output_bytes !== null) {
    const href = fill("/api/runs/{id}/output", { id: run.id });
    const content = (
      <Lazy key={run.id} what="output" size={run.output_bytes} href={href}>
        <Output id={run.id} />
      </Lazy>
    );
    tabs.push({ id: "output", name: "Output", content });
  }
  const event = (
    <Lazy key={run.id} what="event" size={run.event_bytes} href={fill("/api/events/{id}", { id: run.event_id })}>
      <Event id={run.event_id} />
    </Lazy>
  );
  tabs.push({ id: "event", name: "Event", content: event });
  tabs.push({ id: "config", name: "Configuration", content: <Config run={run} /> });
  if (run.parent || run.children.length > 0 || run.sent_events.length > 0 || run.original_run_id) {
    tabs.push({ id: "family", name: "Family", content: <Family run={run} rows={rows} /> });
  }
  return <Pane head={<h2>Run</h2>} tabs={tabs} tab={tab} onTab={onTab} />;
}

function Output({ id }: { id: string }) {
  const found = useQuery(read("GET /api/runs/{id}/output", { path: { id } }));
  if (!found.data) return <Waiting error={found.error} />;
  return <JsonView label="Output" text={JSON.stringify(found.data.output)} />;
}

function Event({ id }: { id: string }) {
  const found = useQuery(read("GET /api/events/{id}", { path: { id } }));
  if (!found.data) return <Waiting error={found.error} />;
  const { name, data, user, v, ts, received_at, event_id } = found.data;
  const shown = { name, data, ...(user ? { user } : {}), ...(v ? { v } : {}), ts };
  return (
    <>
      <JsonView label={name} text={JSON.stringify(shown)} />
      <dl className={s.facts}>
        <Fact name="Received">
          {dayOf(received_at)}
          {clock(received_at)}
        </Fact>
        <Fact name="Event id">
          <code>{event_id}</code>
        </Fact>
      </dl>
    </>
  );
}

function Config({ run }: { run: RunPageView }) {
  const config = useQuery(read("GET /api/runs/{id}/config", { path: { id: run.id } }));
  if (config.error) return <ErrorState error={config.error} />;
  if (!config.data) return <Skeleton />;
  const { version, is_current, created_at, config: raw } = config.data;
  return (
    <>
      <dl className={s.facts}>
        <Fact name="Version">
          {version}
          {is_current ? ", the latest" : ", of which there is a newer one"}{" "}
          <small>
            (registered {dayOf(created_at)}
            {clock(created_at)})
          </small>
        </Fact>
        {sentences(raw).map((said) => (
          <Fact key={said.topic} name={said.topic}>
            {said.sentences.map((sentence) => (
              <p key={plain(sentence)}>
                {sentence.map((part) => (typeof part === "string" ? part : <code key={part.code}>{part.code}</code>))}
              </p>
            ))}
          </Fact>
        ))}
      </dl>
      <JsonView label="Raw" text={JSON.stringify(raw)} />
    </>
  );
}
