import { Link } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { memo } from "react";
import type { LogLine } from "~/api/live";
import s from "./logs.module.css";

type Props = {
  line: LogLine;
  index: number;
  top: number;
  measure: (node: Element | null) => void;
  isOpen: boolean;
  toggle: (id: string) => void;
};

/** A line leads to its run, with the attempt that wrote it chosen; opened, it shows all that it says. */
export const Line = memo(function Line({ line, index, top, measure, isOpen, toggle }: Props) {
  const [first = "", ...rest] = line.message.split("\n");
  return (
    <li
      ref={measure}
      data-index={index}
      className={s.line}
      data-level={line.level}
      data-replayed={line.is_replayed || undefined}
      style={{ transform: `translateY(${top}px)` }}
    >
      <button
        type="button"
        className={s.chevron}
        aria-expanded={isOpen}
        aria-label={isOpen ? "Less of this line" : "More of this line"}
        onClick={() => toggle(line.id)}
      >
        <ChevronRight size={12} aria-hidden />
      </button>
      <Link
        to="/runs/$id"
        params={{ id: line.run_id }}
        search={{ row: line.attempt_id ?? line.step_id ?? undefined }}
        className={s.words}
      >
        <time dateTime={line.at} title={new Date(line.at).toLocaleString()}>
          {clock(line.at)}
        </time>
        <span className={s.level}>{line.level}</span>
        <span className={s.where} title={[line.function, line.step].filter(Boolean).join(" › ")}>
          {line.function}
          {line.step && <em> › {line.step}</em>}
          {line.attempt ? <em> #{line.attempt + 1}</em> : null}
        </span>
        <span className={s.message}>
          {first}
          {rest.length > 0 && <em> +{rest.length} lines</em>}
        </span>
      </Link>
      {isOpen && <Details line={line} />}
    </li>
  );
});

function Details({ line }: { line: LogLine }) {
  return (
    <div className={s.details}>
      <pre>{line.message}</pre>
      {line.fields != null && <pre>{JSON.stringify(line.fields, null, 2)}</pre>}
      <p>
        {line.logger ? `${line.logger} · ` : ""}
        {new Date(line.at).toLocaleString()} · run {line.run_id}
        {line.attempt !== null && ` · attempt ${line.attempt + 1}`}
        {line.is_replayed && " · written again by a replay"}
      </p>
    </div>
  );
}

/** The time of day with ms, in the reader's zone. */
function clock(at: string): string {
  const date = new Date(at);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, "0"));
  return `${parts.join(":")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
