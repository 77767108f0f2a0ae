import { expect, test } from "vitest";
import { percent, short, took } from "./numbers";

test("counts are short", () => {
  expect([0, 999, 1_000, 1_240, 12_400, 999_400, 999_600, 4_500_000].map(short)).toEqual([
    "0",
    "999",
    "1k",
    "1.2k",
    "12k",
    "999k",
    "1M",
    "4.5M",
  ]);
});

test("a share that is there is never nothing, and what isn't all is never all", () => {
  expect([0, 0.0001, 0.012, 0.5, 0.9999, 1].map(percent)).toEqual(["0%", "<0.1%", "1.2%", "50%", ">99.9%", "100%"]);
});

test("lengths of time have the unit that fits", () => {
  expect([0.4, 45, 1_000, 1_240, 59_000, 240_000, 12_600_000, 172_800_000].map(took)).toEqual([
    "0 ms",
    "45 ms",
    "1 s",
    "1.2 s",
    "59 s",
    "4 min",
    "3.5 h",
    "2 d",
  ]);
});
