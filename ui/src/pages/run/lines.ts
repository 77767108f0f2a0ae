// Log lines of a run: kept in order, chosen by level and text, set under the step and attempt that wrote them.

import type { LogLine } from "~/api/live";
import { fieldsText, tracebackOf } from "~/parts/fields";
import type { Level } from "./search";

/** Add lines to those known; a line comes once, in the order of ids, which is that of arrival. */
export function addLines(known: LogLine[], news: readonly LogLine[]): LogLine[] {
  if (news.length === 0) return known;
  const last = known.at(-1)?.id ?? "";
  const isNewer = news.every((line, index) => line.id > (news[index - 1]?.id ?? last));
  if (isNewer) return [...known, ...news];
  const all = new Map([...known, ...news].map((line) => [line.id, line]));
  return [...all.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Whether a line belongs to a row. What one call brought in several steps has rows whose ids go on from the call's. */
export function isOf(line: LogLine, row: { id: string; step_id: string | null }): boolean {
  if (line.attempt_id === null) return false;
  const isSameCall = row.id === line.attempt_id;
  if (line.step_id === null) return isSameCall;
  return line.step_id === row.step_id && (isSameCall || row.id.startsWith(`${line.attempt_id}.`));
}

export interface LogFilter {
  level: Level;
  text: string;
  withReplayed: boolean;
}

const RANK: Record<string, number> = { debug: 10, info: 20, warning: 30, error: 40, critical: 50 };

export function chooseLines(lines: readonly LogLine[], { level, text, withReplayed }: LogFilter): LogLine[] {
  const least = level === "debug" ? 0 : (RANK[level] ?? 0);
  const part = text.trim().toLowerCase();
  return lines.filter(
    (line) =>
      (withReplayed || !line.is_replayed) &&
      (RANK[line.level] ?? 20) >= least &&
      (!part ||
        line.message.toLowerCase().includes(part) ||
        `${fieldsText(line.fields)} ${tracebackOf(line.fields) ?? ""}`.toLowerCase().includes(part)),
  );
}

export type Entry = { kind: "head"; key: string; line: LogLine } | { kind: "line"; key: string; line: LogLine };

/** Put a heading before each stretch of lines of one attempt. */
export function withHeads(lines: readonly LogLine[]): Entry[] {
  const entries: Entry[] = [];
  let before: LogLine | undefined;
  for (const line of lines) {
    if (!before || before.attempt_id !== line.attempt_id || before.step_id !== line.step_id) {
      entries.push({ kind: "head", key: `head ${line.id}`, line });
    }
    entries.push({ kind: "line", key: line.id, line });
    before = line;
  }
  return entries;
}
