import { useQuery } from "@tanstack/react-query";
import { X } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { read } from "~/api/query";
import { IconButton } from "~/parts/Button";
import { SearchField } from "~/parts/SearchField";
import s from "./logs.module.css";
import { LEVELS, type Level, type LogsSearch, SPANS, type Span } from "./search";

/** So long after the last key a search goes to the server. */
const TYPING_MS = 250;
const SPAN_WORDS: Record<Span, string> = { "15m": "Last 15 minutes", "1h": "Last hour", "24h": "Last 24 hours" };

type Props = { search: LogsSearch; change: (part: Partial<LogsSearch>) => void };

export function Filters({ search, change }: Props) {
  const functions = useQuery(read("GET /api/functions", {}));
  const isRange = Boolean(search.from || search.until);
  const chooseTime = (value: string) => {
    if (value === "range") change({ span: undefined, from: new Date(Date.now() - 3_600_000).toISOString() });
    else change({ span: (value as Span) || undefined, from: undefined, until: undefined });
  };
  return (
    <>
      <select
        aria-label="Level"
        className={s.select}
        value={search.level ?? ""}
        onChange={(event) => change({ level: (event.target.value as Level) || undefined })}
      >
        <option value="">All levels</option>
        {LEVELS.map((level) => (
          <option key={level} value={level}>
            {level} and up
          </option>
        ))}
      </select>
      <select
        aria-label="Function"
        className={s.select}
        value={search.fn ?? ""}
        onChange={(event) => change({ fn: event.target.value || undefined })}
      >
        <option value="">All functions</option>
        {functions.data?.items.map((fn) => (
          <option key={fn.slug} value={fn.slug}>
            {fn.name}
          </option>
        ))}
        {search.fn && !functions.data?.items.some((fn) => fn.slug === search.fn) && <option>{search.fn}</option>}
      </select>
      <select
        aria-label="Time"
        className={s.select}
        value={isRange ? "range" : (search.span ?? "")}
        onChange={(event) => chooseTime(event.target.value)}
      >
        <option value="">Any time</option>
        {SPANS.map((span) => (
          <option key={span} value={span}>
            {SPAN_WORDS[span]}
          </option>
        ))}
        <option value="range">From … to …</option>
      </select>
      {isRange && (
        <>
          <Instant label="From" value={search.from} change={(from) => change({ from })} />
          <Instant label="To" value={search.until} change={(until) => change({ until })} />
        </>
      )}
      {search.run && (
        <span className={s.chip}>
          run …{search.run.slice(-6)}
          <IconButton label="Lines of all runs" onClick={() => change({ run: undefined })}>
            <X size={12} aria-hidden />
          </IconButton>
        </span>
      )}
      <label className={s.check}>
        <input
          type="checkbox"
          checked={search.replayed === true}
          onChange={(event) => change({ replayed: event.target.checked || undefined })}
        />
        Replayed
      </label>
    </>
  );
}

/** What a line says, as it is typed. */
export function TextFilter({ text, change }: { text: string; change: (text: string) => void }) {
  const [typed, setTyped] = useState(text);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => setTyped(text), [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = (value: string) => {
    setTyped(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => change(value), TYPING_MS);
  };
  return <SearchField label="Text" placeholder="Text of a line" value={typed} onChange={type} />;
}

type InstantProps = { label: string; value: string | undefined; change: (value: string | undefined) => void };

function Instant({ label, value, change }: InstantProps) {
  return (
    <input
      type="datetime-local"
      step={1}
      aria-label={label}
      className={s.select}
      value={value ? local(value) : ""}
      onChange={(event) => change(event.target.value ? new Date(event.target.value).toISOString() : undefined)}
    />
  );
}

/** An instant as the field writes it: in the reader's zone, without one. */
function local(instant: string): string {
  const date = new Date(instant);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
