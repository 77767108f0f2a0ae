// What "Copy as" puts on the clipboard. Pure: the page gives what it knows.
import type { EventView, Explanation, RunPageView, TimelineRow } from "~/api/api.gen";
import { ExactNumber } from "~/api/json";
import type { LogLine } from "~/api/live";
import { durationText } from "~/parts/duration";
import { opWords } from "./words";

/** An event, as it was sent. */
type Sent = Pick<EventView, "name" | "data" | "user" | "v">;

/** The event again, as a request to this server. */
export function asCurl(event: Sent, server: string, needsToken: boolean): string {
  const lines = [`curl -X POST ${shell(`${server}/api/events`)}`, "-H 'Content-Type: application/json'"];
  if (needsToken) lines.push('-H "Authorization: Bearer $STEPWELL_API_TOKEN"');
  lines.push(`-d ${shell(JSON.stringify(again(event), null, 2))}`);
  return `${lines.join(" \\\n  ")}\n`;
}

/** A test that sends the event to a development server, and waits for the function's run. */
export function asPytest(run: RunPageView, event: Sent, server: string): string {
  const name = run.function.replace(/\W+/g, "_").toLowerCase();
  return `"""Made from run ${run.id}, which ${run.status === "failed" ? "failed" : `is ${run.status}`}. It needs the server and the app."""

import json
import time
import urllib.request

SERVER = ${python(server)}
FUNCTION = ${python(run.function)}
EVENT = ${python(again(event))}


def call(path: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SERVER + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_${name}() -> None:
    (sent,) = call("/api/events", EVENT)["events"]
    run = next(run for run in sent["runs"] if run["function"] == FUNCTION)
    deadline = time.monotonic() + 60
    while (shown := call("/api/runs/" + run["id"]))["ended_at"] is None:
        assert time.monotonic() < deadline, shown["waiting"]
        time.sleep(0.1)
    assert shown["status"] == "completed", shown["error"]
`;
}

export interface Known {
  run: RunPageView;
  event: Sent;
  output: unknown;
  rows: readonly TimelineRow[];
  why: Explanation | undefined;
  logs: readonly LogLine[];
  config: unknown;
  /** The tracebacks of attempts that failed, by row. */
  errors: ReadonlyMap<string, unknown>;
}

const ROWS_MAX = 60;
const LOGS_MAX = 60;
const EVENT_CHARS_MAX = 20_000;
const OUTPUT_CHARS_MAX = 4_000;

/** The run for a coding agent: facts, steps, errors with tracebacks, the last log lines, the configuration. */
export function asMarkdown({ run, event, output, rows, why, logs, config, errors }: Known): string {
  const parts = [
    `# Run ${run.id} of \`${run.function}\`: ${run.status}`,
    facts(run, why),
    section("Event", fenced("json", cut(JSON.stringify(again(event), null, 2), EVENT_CHARS_MAX))),
  ];
  if (run.error) {
    parts.push(section("Error", fenced("", errorText(run.error))));
  } else if (output !== null && output !== undefined) {
    parts.push(section("Output", fenced("json", cut(JSON.stringify(output, null, 2), OUTPUT_CHARS_MAX))));
  }
  parts.push(section("Steps", table(rows)));
  const said = new Map<string, string>();
  for (const row of rows) {
    const error = errors.get(row.id);
    if (error === undefined) continue;
    const text = errorText(error);
    const same = said.get(text);
    parts.push(section(`Error of ${named(row)}`, same ? `The same as of ${same}.` : fenced("", text)));
    if (!same) said.set(text, named(row));
  }
  if (logs.length > 0) {
    const tail = logs
      .slice(-LOGS_MAX)
      .map((line) => `${line.at} ${line.level.toUpperCase()} [${line.step ?? "function"}] ${line.message}`);
    parts.push(section(`Log (last ${tail.length} lines)`, fenced("", tail.join("\n"))));
  }
  if (config)
    parts.push(
      section(`Configuration (version ${run.function_version})`, fenced("json", JSON.stringify(config, null, 2))),
    );
  return `${parts.join("\n\n")}\n`;
}

function facts(run: RunPageView, why: Explanation | undefined): string {
  const lines = [
    `- Function: \`${run.function}\` of app \`${run.app}\`, version ${run.function_version}`,
    `- Queued: ${run.queued_at}; started: ${run.started_at ?? "not yet"}; ended: ${run.ended_at ?? "not yet"}`,
  ];
  if (run.duration_ms !== null) lines.push(`- Took ${durationText(run.duration_ms)}`);
  if (run.reason) lines.push(`- Reason: ${run.reason}`);
  if (why) lines.push(`- State: ${why.summary}`);
  return lines.join("\n");
}

function table(rows: readonly TimelineRow[]): string {
  const lines = [
    "| step | kind | attempt | status | started | took | error |",
    "| --- | --- | --- | --- | --- | --- | --- |",
  ];
  const shown = rows.filter((row) => row.step_id !== null || row.error_line !== null);
  for (const row of shown.slice(0, ROWS_MAX)) {
    const ms =
      row.started_at && row.ended_at ? durationText(Date.parse(row.ended_at) - Date.parse(row.started_at)) : "";
    const cells = [
      row.title ?? "(between steps)",
      opWords(row.op),
      row.attempt === null ? "" : row.attempt + 1,
      row.status,
    ];
    lines.push(
      `| ${[...cells, row.started_at ?? "", ms, row.error_line ?? row.waiting ?? ""].map(cell).join(" | ")} |`,
    );
  }
  if (shown.length > ROWS_MAX) lines.push(`\n(${shown.length - ROWS_MAX} more aren't listed.)`);
  return lines.join("\n");
}

function cell(value: string | number): string {
  return String(value).replace(/\|/g, "\\|").replace(/\n/g, " ");
}

function named(row: TimelineRow): string {
  return `\`${row.title ?? "the function"}\`${row.attempt === null ? "" : `, attempt ${row.attempt + 1}`}`;
}

/** An error as its app would print it: the stack where there is one, else its name and message. */
export function errorText(error: unknown): string {
  if (typeof error !== "object" || error === null) return JSON.stringify(error);
  const { name, message, stack } = error as { name?: unknown; message?: unknown; stack?: unknown };
  const line = `${name ?? "Error"}: ${message ?? ""}`;
  if (typeof stack !== "string" || stack === "") return line;
  return stack.includes(String(message)) ? stack : `${line}\n${stack}`;
}

function section(title: string, body: string): string {
  return `## ${title}\n\n${body}`;
}

function fenced(language: string, text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map((found) => found[0].length));
  const fence = "`".repeat(longest + 1);
  return `${fence}${language}\n${text}\n${fence}`;
}

function cut(text: string, chars: number): string {
  return text.length > chars ? `${text.slice(0, chars)}\n… (${text.length - chars} more characters)` : text;
}

/** What to send so that the same runs start: neither the id, which would make it a duplicate, nor the time. */
function again({ name, data, user, v }: Sent): Record<string, unknown> {
  return { name, data: data ?? {}, ...(isFilled(user) ? { user } : {}), ...(v ? { v } : {}) };
}

function isFilled(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length > 0;
}

function shell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A JSON value as Python writes it. */
export function python(value: unknown, depth = 0): string {
  const pad = "    ".repeat(depth + 1);
  const close = "    ".repeat(depth);
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) {
    return value.length === 0 ? "[]" : `[\n${value.map((it) => `${pad}${python(it, depth + 1)},\n`).join("")}${close}]`;
  }
  if (value instanceof ExactNumber) return value.text;
  if (typeof value === "object") {
    const pairs = Object.entries(value);
    if (pairs.length === 0) return "{}";
    return `{\n${pairs.map(([key, it]) => `${pad}${JSON.stringify(key)}: ${python(it, depth + 1)},\n`).join("")}${close}}`;
  }
  return JSON.stringify(value);
}
