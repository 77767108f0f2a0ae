import { expect, test } from "vitest";
import type { LogLine } from "~/api/live";
import { addLines, chooseLines, isOf, withHeads } from "./lines";

function line(id: string, more: Partial<LogLine> = {}): LogLine {
  return {
    id,
    level: "info",
    message: id,
    step: null,
    step_id: null,
    attempt: 0,
    attempt_id: "x",
    fields: null,
    is_replayed: false,
    ...more,
  } as LogLine;
}

test("a line that comes by page and by stream is there once, in order", () => {
  const known = addLines([], [line("1"), line("3")]);

  expect(addLines(known, [line("2"), line("3")]).map((it) => it.id)).toEqual(["1", "2", "3"]);
});

test("lines are chosen by level, by text in message or fields, and replayed ones only when asked for", () => {
  const all = [
    line("1", { level: "debug" }),
    line("2", { level: "error", fields: { user: "Ann" } }),
    line("3", { is_replayed: true }),
  ];
  const ids = (more: object) =>
    chooseLines(all, { level: "debug", text: "", withReplayed: false, ...more }).map((it) => it.id);

  expect(ids({})).toEqual(["1", "2"]);
  expect(ids({ level: "warning" })).toEqual(["2"]);
  expect(ids({ text: "user=ann" })).toEqual(["2"]);
  expect(ids({ withReplayed: true })).toEqual(["1", "2", "3"]);
});

test("each stretch of an attempt's lines has a heading", () => {
  const entries = withHeads([line("1"), line("2"), line("3", { attempt_id: "y", attempt: 1 }), line("4")]);

  expect(entries.map((entry) => entry.kind)).toEqual(["head", "line", "line", "head", "line", "head", "line"]);
});

test("a line is found under the row that wrote it, though one call brought several steps", () => {
  const wrote = line("1", { attempt_id: "0.0.1", step_id: "pay" });

  expect(isOf(wrote, { id: "0.0.1", step_id: "pay" })).toBe(true);
  expect(isOf(wrote, { id: "0.0.1.0", step_id: "pay" })).toBe(true);
  expect(isOf(wrote, { id: "0.0.1", step_id: "add" })).toBe(false);
  expect(isOf(wrote, { id: "0.0.12", step_id: "pay" })).toBe(false);
  expect(isOf(line("2", { attempt_id: "0.0.1", step_id: null }), { id: "0.0.1", step_id: "pay" })).toBe(true);
});
