import { Link } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { memo } from "react";
import type { LogLine } from "~/api/live";
import { clock } from "~/pages/run/words";
import { fieldsText, tracebackOf } from "~/parts/fields";
import { exact } from "~/parts/instant";
import s from "./logs.module.css";

type Props = {
  line: LogLine;
  /** Of its function. */
  name: string | null;
  index: number;
  top: number;
  measure: (node: Element | null) => void;
  isOpen: boolean;
  toggle: (id: string) => void;
};

/** A line leads to its run, with the attempt that wrote it chosen; opened, it shows all that it says. */
export const Line = memo(function Line({ line, name, index, top, measure, isOpen, toggle }: Props) {
  const [first = "", ...rest] = line.message.split("\n");
  const fields = fieldsText(line.fields);
  const traceback = tracebackOf(line.fields);
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
        <time dateTime={line.at} title={exact(line.at)}>
          {clock(line.at)}
        </time>
        <span className={s.level}>{line.level}</span>
        <span className={s.where} title={[line.function, line.step].filter(Boolean).join(" › ")}>
          {name}
          {line.step && <em> › {line.step}</em>}
          {line.attempt ? <em> #{line.attempt + 1}</em> : null}
        </span>
        <span className={s.message}>
          {first}
          {fields && <em className={s.fields}>{fields}</em>}
          {rest.length > 0 && <em> +{rest.length} lines</em>}
          {traceback && <em> +traceback</em>}
        </span>
      </Link>
      {isOpen && <Details line={line} />}
    </li>
  );
});

function Details({ line }: { line: LogLine }) {
  const traceback = tracebackOf(line.fields);
  return (
    <div className={s.details}>
      <pre>{line.message}</pre>
      {traceback && <pre>{traceback}</pre>}
      {fieldsText(line.fields) && <pre>{JSON.stringify(line.fields, null, 2)}</pre>}
      <p>
        {line.logger ? `${line.logger} · ` : ""}
        {exact(line.at)} · run {line.run_id}
        {line.attempt !== null && ` · attempt ${line.attempt + 1}`}
        {line.is_replayed && " · written again by a replay"}
      </p>
    </div>
  );
}
