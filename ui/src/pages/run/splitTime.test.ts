import { expect, test } from "vitest";
import { at, timelineOf } from "./fixture";
import { buildModel } from "./layout";
import { splitTime } from "./splitTime";

test("each instant counts once, work before waiting before sleep; together they are all of the time", () => {
  const model = buildModel(
    timelineOf(
      [
        { id: "call", started_at: at(10), ended_at: at(20) },
        { id: "a", step_id: "a", started_at: at(30), ended_at: at(60) },
        { id: "b", step_id: "b", started_at: at(40), ended_at: at(70) },
        { id: "nap", kind: "sleep", step_id: "nap", op: "step.sleep", started_at: at(50), ended_at: at(100) },
      ],
      { end: 110 },
    ),
  );

  expect(splitTime(model, 110)).toEqual({ code: 50, waiting: 0, sleeping: 30, queued: 10, overhead: 20 });
});

test("what goes on counts until now", () => {
  const model = buildModel(timelineOf([{ id: "a", step_id: "a", started_at: at(0) }]));

  expect(splitTime(model, 5_000).code).toBe(5_000);
});
