import { expect, it } from "vitest";
import { checkEventsSearch, isFiltered } from "./search";

it("keeps what it knows of an address", () => {
  expect(checkEventsSearch({ q: "user/signed.up", internal: true, range: "6h", page: 2 })).toEqual({
    q: "user/signed.up",
    internal: true,
    range: "6h",
  });
  expect(checkEventsSearch({ internal: false, q: "" })).toEqual({});
});

it("doesn't count more events as a filter", () => {
  expect(isFiltered({ internal: true })).toBe(false);
  expect(isFiltered({ q: "x" })).toBe(true);
});
