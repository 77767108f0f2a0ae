import { expect, test } from "vitest";
import { at, timelineOf } from "./fixture";
import { buildModel, type Filter, flatten } from "./layout";

const ALL: Filter = { text: "", errorsOnly: false, hidesReplays: false, isFolded: false, flipped: new Set() };

const tried = timelineOf(
  [
    { id: "call-1", started_at: at(10), ended_at: at(20) },
    {
      id: "a-1",
      step_id: "pay",
      attempt: 0,
      status: "retrying",
      started_at: at(30),
      ended_at: at(40),
      retry_at: at(140),
      error_line: "Error: no",
    },
    {
      id: "a-2",
      step_id: "pay",
      attempt: 1,
      status: "failed",
      started_at: at(150),
      ended_at: at(160),
      error_line: "Error: never",
    },
    { id: "b", step_id: "note", started_at: at(35), ended_at: at(50) },
    { id: "call-2", started_at: at(170), ended_at: at(180) },
  ],
  { end: 180 },
);

test("a step's attempts are its lines, each with its own bar after the wait before it", () => {
  const lines = flatten(buildModel(tried).groups, ALL);

  expect(lines.map((line) => [line.key, line.kind])).toEqual([
    ["call-1", "group"],
    ["pay", "group"],
    ["pay/a-1", "attempt"],
    ["pay/a-2", "attempt"],
    ["note", "group"],
    ["call-2", "group"],
  ]);
  expect(lines[3]?.segments).toEqual([
    { pattern: "wait", status: "retrying", from: 40, to: 140 },
    { pattern: "queued", status: "queued", from: 140, to: 150 },
    { pattern: "work", status: "failed", from: 150, to: 160 },
  ]);
  expect(lines[0]?.segments[0]).toEqual({ pattern: "queued", status: "queued", from: 0, to: 10 });
});

test("a call that is made again for the sake of a step is the step's next attempt", () => {
  const timeline = timelineOf([
    {
      id: "a-1",
      step_id: "pay",
      status: "retrying",
      started_at: at(30),
      ended_at: at(40),
      retry_at: at(5_000),
      error_line: "Error: no",
    },
    { id: "job", kind: "job", status: "waiting", attempt: 1, due_at: at(5_000), waiting: "is tried again" },
  ]);

  const lines = flatten(buildModel(timeline).groups, ALL);

  expect(lines.map((line) => line.key)).toEqual(["pay", "pay/a-1", "pay/job"]);
  expect(lines[2]?.segments).toEqual([{ pattern: "wait", status: "retrying", from: 40, to: null }]);
});

test("only a call that asked what is next, and didn't end the run, is a replay", () => {
  const { groups } = buildModel(tried);

  expect(groups.filter((group) => group.isReplay).map((group) => group.id)).toEqual(["call-1"]);
  expect(flatten(groups, { ...ALL, hidesReplays: true }).map((line) => line.key)).not.toContain("call-1");
});

test("retries of the code between steps are one group", () => {
  const { groups } = buildModel(
    timelineOf([
      {
        id: "c-1",
        attempt: 0,
        status: "retrying",
        started_at: at(0),
        ended_at: at(5),
        retry_at: at(10),
        error_line: "E: x",
      },
      { id: "c-2", attempt: 1, started_at: at(10), ended_at: at(20) },
      { id: "c-3", attempt: 0, started_at: at(30), ended_at: at(40) },
    ]),
  );

  expect(groups.map((group) => group.items.length)).toEqual([2, 1]);
});

test("what is open goes on to now, and what waits in the queue begins where the last thing ended", () => {
  const { groups } = buildModel(
    timelineOf([
      { id: "a", step_id: "a", started_at: at(0), ended_at: at(100) },
      {
        id: "nap",
        kind: "sleep",
        step_id: "nap",
        op: "step.sleep",
        status: "sleeping",
        started_at: at(100),
        due_at: at(9_000),
      },
      {
        id: "news",
        kind: "job",
        step_id: "news",
        op: "step.waitForEvent",
        status: "waiting",
        started_at: at(100),
        due_at: at(9_000),
      },
      { id: "next", kind: "job", status: "waiting", due_at: at(100) },
    ]),
  );

  const bars = groups.map((group) => group.items[0]?.segments.at(-1));
  expect(bars.slice(1)).toEqual([
    { pattern: "sleep", status: "sleeping", from: 100, to: null },
    { pattern: "wait", status: "waiting", from: 100, to: null },
    { pattern: "queued", status: "queued", from: 100, to: null },
  ]);
});

test("lines are filtered by errors and by text, and folded but for those turned over", () => {
  const { groups } = buildModel(tried);

  expect(flatten(groups, { ...ALL, errorsOnly: true }).map((line) => line.key)).toEqual(["pay", "pay/a-1", "pay/a-2"]);
  expect(flatten(groups, { ...ALL, text: "NEVER" }).map((line) => line.key)[0]).toBe("pay");
  expect(flatten(groups, { ...ALL, isFolded: true })).toHaveLength(4);
  expect(flatten(groups, { ...ALL, isFolded: true, flipped: new Set(["pay"]) })).toHaveLength(6);
});

test("spans stand under the attempt that made them, each below its parent", () => {
  const span = {
    parent_id: null,
    attempt_id: "b",
    name: "GET",
    started_at: at(36),
    ended_at: at(40),
    duration_ms: 4,
    status: "ok" as const,
    attributes: null,
  };
  const spans = [
    { ...span, id: "s-2", parent_id: "s-1", started_at: at(37), status: "error" as const },
    { ...span, id: "s-1" },
  ];
  const lines = flatten(buildModel(tried, spans).groups, ALL).filter((line) => line.kind === "span");

  expect(lines.map((line) => [line.id, line.depth, line.segments[0]?.status])).toEqual([
    ["s-1", 1, "completed"],
    ["s-2", 2, "failed"],
  ]);
});

test("a thousand steps of five attempts are laid out within a moment", () => {
  const rows = Array.from({ length: 5_000 }, (_, n) => ({
    id: `${n}`,
    step_id: `step-${n % 1_000}`,
    attempt: Math.floor(n / 1_000),
    started_at: at(n),
    ended_at: at(n + 1),
  }));
  const begun = performance.now();
  const lines = flatten(buildModel(timelineOf(rows, { end: 6_000 })).groups, ALL);

  expect(lines).toHaveLength(6_000);
  expect(performance.now() - begun).toBeLessThan(500);
});
