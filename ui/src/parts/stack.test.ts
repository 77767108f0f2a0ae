import { expect, test } from "vitest";
import { stack } from "./stack";

test("each series is put on those before it", () => {
  expect(
    stack([
      [1, null, 3],
      [10, 20, 0],
    ]),
  ).toEqual([
    [1, 0, 3],
    [11, 20, 3],
  ]);
});
