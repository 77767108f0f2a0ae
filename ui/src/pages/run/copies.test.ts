import { expect, test } from "vitest";
import type { RunPageView } from "~/api/api.gen";
import { asCurl, asMarkdown, asPytest, python } from "./copies";
import { rowOf } from "./fixture";

const run = {
  id: "01RUN",
  function: "shop-charge",
  app: "shop",
  status: "failed",
  function_version: 3,
  queued_at: "2026-01-01T00:00:00.000Z",
  started_at: null,
  ended_at: null,
  duration_ms: null,
  reason: null,
  error: { name: "CardError", message: "no", stack: "Traceback\nCardError: no" },
} as unknown as RunPageView;
const event = { name: "order.placed", data: { who: "O'Neil", ok: true, none: null }, user: null, v: null };

test("a shell's quotes in the event don't end the command", () => {
  const text = asCurl(event, "http://localhost:8288", false);

  expect(text).toContain("O'\\''Neil");
  expect(text).not.toContain("Authorization");
  expect(asCurl(event, "https://x", true)).toContain('-H "Authorization: Bearer $STEPWELL_API_TOKEN"');
});

test("JSON becomes Python's literals", () => {
  expect(python({ a: [true, false, null], b: {}, c: "x" })).toBe(
    '{\n    "a": [\n        True,\n        False,\n        None,\n    ],\n    "b": {},\n    "c": "x",\n}',
  );
  expect(asPytest(run, event, "http://localhost:8288")).toContain("def test_shop_charge() -> None:");
});

test("the Markdown has facts, steps, tracebacks and lines, and a fence that no backtick in them ends", () => {
  const pay = { step_id: "pay", status: "failed" as const, error_line: "CardError: a | b" };
  const rows = [rowOf({ id: "a", ...pay }), rowOf({ id: "b", ...pay, attempt: 1 })];
  const thrown = { name: "CardError", message: "no", stack: "File x" };
  const text = asMarkdown({
    run,
    event,
    output: null,
    rows,
    why: undefined,
    logs: [{ at: "t", level: "info", step: "pay", message: "```" }] as never,
    config: { id: "charge" },
    errors: new Map([
      ["a", thrown],
      ["b", thrown],
    ]),
  });

  expect(text).toContain("# Run 01RUN of `shop-charge`: failed");
  expect(text).toContain("CardError: a \\| b");
  expect(text).toContain("## Error of `pay`, attempt 1\n\n```\nCardError: no\nFile x\n```");
  expect(text).toContain("## Error of `pay`, attempt 2\n\nThe same as of `pay`, attempt 1.");
  expect(text).toContain("````\nt INFO [pay] ```\n````");
});
