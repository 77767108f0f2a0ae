import { expect, test } from "vitest";
import { durationText } from "./duration";

test.each([
  [0, "0 ms"],
  [999, "999 ms"],
  [1_240, "1.2 s"],
  [9_949, "9.9 s"],
  [9_951, "10 s"],
  [59_600, "1 min"],
  [185_000, "3 min 5 s"],
  [3_600_000, "1 h"],
  [7_440_000, "2 h 4 min"],
  [266_400_000, "3 d 2 h"],
])("%i ms is %s", (ms, text) => {
  expect(durationText(ms)).toBe(text);
});
