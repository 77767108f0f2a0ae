import { expect, it } from "vitest";
import { count, many } from "./format";

it("rounds large counts only", () => {
  expect([9_999, 12_345, 1_200_000].map(count)).toEqual(["9,999", "12.3K", "1.2M"]);
  expect([many(1, "run"), many(2, "run")]).toEqual(["1 run", "2 runs"]);
});
