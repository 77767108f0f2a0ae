import { expect, test } from "vitest";
import { checkRunSearch } from "./search";
import { idTime } from "./words";

const clean = (raw: Record<string, unknown>) => JSON.parse(JSON.stringify(checkRunSearch(raw)));

test("an address keeps what the page knows, and nothing else", () => {
  expect(clean({ row: "4.0.1", tab: "error", q: 42, errors: true, from: 5, to: 9, level: "warning", x: 1 })).toEqual({
    row: "4.0.1",
    tab: "error",
    q: "42",
    errors: true,
    from: 5,
    to: 9,
    level: "warning",
  });
  expect(clean({ tab: "nonsense", from: 9, to: 5, errors: "yes", level: "loud" })).toEqual({});
});

test("an id says when it was made; what is none says nothing", () => {
  expect(idTime("01ARZ3NDEKTSV4RRFFQ69G5FAV")).toBe(Date.parse("2016-07-30T23:54:10.259Z"));
  expect(idTime("nonsense")).toBeNull();
});
