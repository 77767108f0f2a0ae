import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { X } from "lucide-react";
import { type ReactNode, useState } from "react";
import { fill } from "~/api/client";
import type { LogLine } from "~/api/live";
import { read } from "~/api/query";
import { IconButton } from "~/parts/Button";
import { JsonView } from "~/parts/code/JsonView";
import { durationText } from "~/parts/duration";
import { fieldsText, tracebackOf } from "~/parts/fields";
import { StatusBadge } from "~/parts/StatusBadge";
import { ErrorView } from "./ErrorView";
import type { Frame } from "./frame";
import type { Group, Item, SpanItem } from "./layout";
import { Pane, type PaneTab } from "./Pane";
import s from "./Pane.module.css";
import { LAZY_BYTES, Large, Waiting } from "./Payload";
import type { Tab } from "./search";
import { Ticking } from "./Ticking";
import { bytes, clock, dayOf, withClocks } from "./words";

type Props = {
  runId: string;
  group: Group;
  item: Item;
  span: SpanItem | null;
  lines: LogLine[];
  maxAttempts: number | null;
  frame: Frame;
  tab: Tab | undefined;
  onTab: (tab: Tab | undefined) => void;
  onClose: () => void;
  actions?: ReactNode;
};

/** All about one attempt, sleep, wait or span. */
export function RowPane({ runId, group, item, span, lines, maxAttempts, frame, tab, onTab, onClose, actions }: Props) {
  const { row } = item;
  const [isAsked, setAsked] = useState<string | null>(null);
  const size = row.output_bytes ?? 0;
  const isLarge = size > LAZY_BYTES && isAsked !== row.id;
  const path = { id: runId, row: row.id };
  const asked = read("GET /api/runs/{id}/rows/{row}", { path });
  const payload = useQuery({
    ...asked,
    queryKey: [...asked.queryKey, row.ended_at], // its end brings an output
    placeholderData: (before) => (before?.id === row.id ? before : undefined),
    enabled: !isLarge && !span,
  });
  const data = payload.data;
  const tabs: PaneTab[] = [];
  if (row.error_line !== null) {
    const content = data ? <ErrorView error={data.error} /> : <Waiting error={payload.error} />;
    tabs.push({ id: "error", name: "Error", content });
  }
  if (isLarge) {
    tabs.push({
      id: "output",
      name: "Output",
      content: (
        <Large
          what="output"
          size={size}
          href={fill("/api/runs/{id}/rows/{row}", path)}
          onLoad={() => setAsked(row.id)}
        />
      ),
    });
  } else if (data && data.output !== null && data.output !== undefined) {
    tabs.push({
      id: "output",
      name: "Output",
      content: <JsonView label="Output" text={JSON.stringify(data.output)} />,
    });
  } else if (size > 0 && !data) {
    tabs.push({ id: "output", name: "Output", content: <Waiting error={payload.error} /> });
  }
  if (data && data.input !== null && data.input !== undefined) {
    const content = <JsonView label="Input" text={JSON.stringify(data.input)} />;
    tabs.push({ id: "input", name: "Input", content });
  }
  const facts = span ? (
    <SpanFacts item={span} />
  ) : (
    <Facts group={group} item={item} maxAttempts={maxAttempts} frame={frame} />
  );
  // Of what waits or sleeps, when it goes on is asked first; what it was given comes later, and would take its place.
  const isAwaited = row.ended_at === null && row.op !== null && row.op !== "step.run";
  const factsTab: PaneTab = { id: "facts", name: "Facts", content: facts };
  if (isAwaited) tabs.unshift(factsTab);
  else tabs.push(factsTab);
  if (lines.length > 0) tabs.push({ id: "logs", name: `Logs ${lines.length}`, content: <Lines lines={lines} /> });
  const head = (
    <>
      <StatusBadge status={span?.segment.status ?? item.status} />
      <h2 title={span?.span.name ?? group.title}>{span?.span.name ?? group.title}</h2>
      {actions}
      <IconButton label="Close details" hotkey="Escape" onClick={onClose}>
        <X size={15} />
      </IconButton>
    </>
  );
  const wanted = span ? tabs.filter((it) => it.id === "facts") : tabs;
  return <Pane head={head} tabs={wanted} tab={tab} onTab={onTab} />;
}

type FactsProps = { group: Group; item: Item; maxAttempts: number | null; frame: Frame };

function Facts({ group, item, maxAttempts, frame }: FactsProps) {
  const { row } = item;
  const started = row.started_at ? Date.parse(row.started_at) : null;
  const ended = row.ended_at ? Date.parse(row.ended_at) : null;
  const zero = frame.instant(0);
  const index = group.items.indexOf(item);
  const before = group.items[index - 1]?.row.ended_at;
  const { links } = row;
  return (
    <dl className={s.facts}>
      <Fact name="Kind">{row.op ? <code>{row.op}</code> : "the function itself: it asks what is next"}</Fact>
      {item.number !== null && (
        <Fact name="Attempt">
          {item.number}
          {maxAttempts !== null && ` of ${maxAttempts}`}
        </Fact>
      )}
      {row.waiting && <Fact name="Now">{withClocks(row.waiting)}</Fact>}
      {row.started_at && (
        <Fact name="Started">
          <Moment time={row.started_at} zero={zero} />
        </Fact>
      )}
      {row.ended_at && (
        <Fact name="Ended">
          <Moment time={row.ended_at} zero={zero} />
        </Fact>
      )}
      {started !== null && (
        <Fact name="Took">
          <Ticking frame={frame} from={started - zero} to={ended === null ? null : ended - zero} />
        </Fact>
      )}
      {before && started !== null && <Fact name="After the last">{durationText(started - Date.parse(before))}</Fact>}
      {row.due_at && !links?.until && (
        <Fact name="Due">
          <Moment time={row.due_at} zero={zero} />
        </Fact>
      )}
      {row.retry_at && (
        <Fact name="Retry at">
          <Moment time={row.retry_at} zero={zero} />
        </Fact>
      )}
      {links?.until && (
        <Fact name="Until">
          <Moment time={links.until} zero={zero} />
        </Fact>
      )}
      {links?.run_id && (
        <Fact name="Invoked run">
          <Link to="/runs/$id" params={{ id: links.run_id }}>
            {links.function ?? links.run_id}
          </Link>
        </Fact>
      )}
      {links?.event_name && (
        <Fact name="Event">
          {links.event_id ? (
            <Link to="/events/$id" params={{ id: links.event_id }}>
              {links.event_name}
            </Link>
          ) : (
            links.event_name
          )}
        </Fact>
      )}
      {links?.expression && (
        <Fact name="Where">
          <code>{links.expression}</code>
        </Fact>
      )}
      {links?.signal && (
        <Fact name="Signal">
          <code>{links.signal}</code>
        </Fact>
      )}
      {row.http && (
        <>
          <Fact name="Answer">
            HTTP {row.http.status}, {bytes(row.http.received_bytes)}
          </Fact>
          <Fact name="Request">
            {bytes(row.http.sent_bytes)}, <code>X-Request-ID: {row.http.request_id}</code>
          </Fact>
        </>
      )}
      {row.output_bytes !== null && <Fact name="Output">{bytes(row.output_bytes)}</Fact>}
      {row.step_id && (
        <Fact name="Step id">
          <code>{row.step_id}</code>
        </Fact>
      )}
      <Fact name={row.kind === "attempt" ? "Attempt id" : "Id"}>
        <code>{row.id}</code>
      </Fact>
    </dl>
  );
}

function SpanFacts({ item: { span } }: { item: SpanItem }) {
  const attributes =
    typeof span.attributes === "object" && span.attributes !== null ? Object.entries(span.attributes) : [];
  return (
    <dl className={s.facts}>
      <Fact name="Span">{span.name}</Fact>
      <Fact name="Started">{clock(span.started_at)}</Fact>
      <Fact name="Took">{durationText(span.duration_ms)}</Fact>
      <Fact name="Status">{span.status}</Fact>
      {attributes.map(([name, value]) => (
        <Fact key={name} name={name}>
          <code>{typeof value === "string" ? value : JSON.stringify(value)}</code>
        </Fact>
      ))}
    </dl>
  );
}

export function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function Moment({ time, zero }: { time: string; zero: number }) {
  const offset = Date.parse(time) - zero;
  return (
    <time dateTime={time} title={time}>
      {dayOf(time)}
      {clock(time)}{" "}
      <small>
        ({offset < 0 ? "−" : "+"}
        {durationText(Math.abs(offset))})
      </small>
    </time>
  );
}

function Lines({ lines }: { lines: LogLine[] }) {
  return (
    <ul className={s.lines}>
      {lines.map((line) => (
        <li key={line.id} className={s.line} data-level={line.level} data-replayed={line.is_replayed || undefined}>
          <time dateTime={line.at}>{clock(line.at)}</time>
          <span className={s.level}>{line.level}</span>
          <span className={s.message}>
            {[line.message, fieldsText(line.fields)].filter(Boolean).join(" ")}
            {tracebackOf(line.fields) && `\n${tracebackOf(line.fields)}`}
          </span>
        </li>
      ))}
    </ul>
  );
}
