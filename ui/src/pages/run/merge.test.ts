import { expect, test } from "vitest";
import { at, timelineOf } from "./fixture";
import { mergeTimeline, newsAfter } from "./merge";

const known = timelineOf(
  [
    { id: "a", started_at: at(0), ended_at: at(10) },
    { id: "b", started_at: at(20) },
    { id: "job", kind: "job", status: "waiting", due_at: at(30) },
  ],
  { now: 50 },
);

test("what ended stays, what was open comes anew: a call that is made leaves no line behind", () => {
  const news = timelineOf(
    [
      { id: "b", started_at: at(20), ended_at: at(60) },
      { id: "c", started_at: at(55) },
    ],
    { now: 70 },
  );
  const merged = mergeTimeline(known, news);

  expect(merged.rows.map((row) => [row.id, row.ended_at])).toEqual([
    ["a", at(10)],
    ["b", at(60)],
    ["c", null],
  ]);
  expect(merged.now).toBe(at(70));
});

test("rows don't change places when they turn out to have begun a little later", () => {
  const both = timelineOf(
    [
      { id: "x", step_id: "x", started_at: at(20) },
      { id: "y", step_id: "y", started_at: at(21) },
    ],
    { now: 50 },
  );
  const later = { id: "x", step_id: "x", started_at: at(23), ended_at: at(60) };
  const once = mergeTimeline(both, timelineOf([{ id: "y", step_id: "y", started_at: at(21) }, later], { now: 70 }));
  const twice = mergeTimeline(once, timelineOf([{ id: "y", step_id: "y", started_at: at(22) }], { now: 80 }));

  expect(once.rows.map((row) => row.id)).toEqual(["x", "y"]);
  expect(twice.rows.map((row) => [row.id, row.started_at])).toEqual([
    ["x", at(23)],
    ["y", at(22)],
  ]);
});

test("a call that failed at a step stands where that step began", () => {
  const call = timelineOf([
    { id: "a", started_at: at(0) },
    { id: "a.0", step_id: "s", started_at: at(1), ended_at: at(9) },
  ]);
  const failed = { id: "a", step_id: "t", status: "retrying" as const, started_at: at(10), ended_at: at(20) };

  expect(mergeTimeline(call, timelineOf([failed])).rows.map((row) => row.id)).toEqual(["a.0", "a"]);
});

test("an answer that was overtaken changes nothing", () => {
  expect(mergeTimeline(known, timelineOf([], { now: 40 }))).toBe(known);
});

test("news are asked for from a little before what is known", () => {
  expect(newsAfter(known) < known.now).toBe(true);
});
