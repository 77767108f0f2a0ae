import { useQuery } from "@tanstack/react-query";
import type { RunPageView, TimelineRow } from "~/api/api.gen";
import { read } from "~/api/query";
import { plain, sentences } from "~/pages/function/sentences";
import { JsonView } from "~/parts/code/JsonView";
import { ErrorState, Skeleton } from "~/parts/ErrorState";
import { ErrorView } from "./ErrorView";
import { Family } from "./Family";
import { Pane, type PaneTab } from "./Pane";
import s from "./Pane.module.css";
import { Fact } from "./RowPane";
import type { Tab } from "./search";
import { clock, dayOf } from "./words";

type Props = { run: RunPageView; rows: TimelineRow[]; tab: Tab | undefined; onTab: (tab: Tab | undefined) => void };

/** All about the run itself: what started it, what came of it, how it was configured, what it is related to. */
export function RunPane({ run, rows, tab, onTab }: Props) {
  const whole = useQuery({
    ...read("GET /api/runs/{id}", { path: { id: run.id } }),
    enabled: run.status === "completed",
  });
  const output = whole.data?.output;
  const tabs: PaneTab[] = [];
  if (run.error) tabs.push({ id: "error", name: "Error", content: <ErrorView error={run.error} /> });
  if (output !== null && output !== undefined) {
    const content = <JsonView label="Output" text={JSON.stringify(output)} />;
    tabs.push({ id: "output", name: "Output", content });
  }
  const { event } = run;
  tabs.push({
    id: "event",
    name: "Event",
    content: (
      <>
        <JsonView label={event.name} text={JSON.stringify(eventShown(event))} />
        <dl className={s.facts}>
          <Fact name="Received">
            {dayOf(event.received_at)}
            {clock(event.received_at)}
          </Fact>
          <Fact name="Event id">
            <code>{event.event_id}</code>
          </Fact>
        </dl>
      </>
    ),
  });
  tabs.push({ id: "config", name: "Configuration", content: <Config run={run} /> });
  if (run.parent || run.children.length > 0 || run.sent_events.length > 0 || run.original_run_id) {
    tabs.push({ id: "family", name: "Family", content: <Family run={run} rows={rows} /> });
  }
  return <Pane head={<h2>Run</h2>} tabs={tabs} tab={tab} onTab={onTab} />;
}

function eventShown(event: RunPageView["event"]) {
  const { name, data, user, v, ts } = event;
  return { name, data, ...(user ? { user } : {}), ...(v ? { v } : {}), ts };
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
