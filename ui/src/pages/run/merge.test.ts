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

test("an answer that was overtaken changes nothing", () => {
  expect(mergeTimeline(known, timelineOf([], { now: 40 }))).toBe(known);
});

test("news are asked for from a little before what is known", () => {
  expect(newsAfter(known) < known.now).toBe(true);
});
