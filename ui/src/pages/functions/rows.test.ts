import { describe, expect, test } from "vitest";
import type { FunctionSummary, FunctionView } from "~/api/api.gen";
import { failureRate, matches, rowsOf } from "./rows";
import { checkFunctionsSearch } from "./search";

function fn(slug: string, more: Partial<FunctionView> = {}): FunctionView {
  return {
    slug,
    name: slug,
    app: "shop",
    version: 1,
    triggers: [],
    max_attempts: 5,
    url: "",
    is_archived: false,
    pause: null,
    ...more,
  } as FunctionView;
}

function stats(slug: string, more: Partial<FunctionSummary> = {}): FunctionSummary {
  return {
    slug,
    runs: 0,
    failed: 0,
    p50_ms: null,
    p95_ms: null,
    backlog: 0,
    running: 0,
    last_failed: null,
    buckets: [],
    ...more,
  };
}

const slugs = (rows: ReturnType<typeof rowsOf>) => rows.map((row) => row.fn.slug);

describe("search", () => {
  const one = fn("shop-pay", {
    name: "Pay",
    triggers: [{ event: "order/placed", expression: null, cron: null, next_at: null }],
  });
  test("finds by name, app and trigger, in any case, every word", () => {
    expect(matches(one, "PAY")).toBe(true);
    expect(matches(one, "shop order/")).toBe(true);
    expect(matches(one, "shop nothing")).toBe(false);
  });
  test("finds those that are paused", () => {
    expect(matches(one, "paused")).toBe(false);
    expect(matches(fn("a", { pause: { since: "", mode: "hold", runs_under_way: "go_on" } }), "paused")).toBe(true);
  });
});

describe("order", () => {
  const functions = [fn("a"), fn("b"), fn("c")];
  const numbers = [stats("a", { runs: 10, failed: 1 }), stats("b", { runs: 2, failed: 2 })];
  test("is by name", () => {
    expect(slugs(rowsOf([...functions].reverse(), numbers, {}))).toEqual(["a", "b", "c"]);
  });
  test("has the highest number first, and those without one last", () => {
    expect(slugs(rowsOf(functions, numbers, { sort: "runs" }))).toEqual(["a", "b", "c"]);
    expect(slugs(rowsOf(functions, numbers, { sort: "failed" }))).toEqual(["b", "a", "c"]);
  });
  test("can be turned round", () => {
    expect(slugs(rowsOf(functions, numbers, { sort: "runs", reverse: true }))).toEqual(["c", "b", "a"]);
  });
});

test("there is no failure rate where nothing ended", () => {
  expect(failureRate(stats("a"))).toBeNull();
  expect(failureRate(stats("a", { runs: 4, failed: 1 }))).toBe(0.25);
});

test("an address with nonsense is the plain page", () => {
  expect(checkFunctionsSearch({ q: [], sort: "colour", reverse: "x" })).toEqual({});
  expect(checkFunctionsSearch({ q: 42 })).toEqual({ q: "42" });
  expect(checkFunctionsSearch({ q: "a", sort: "p95", reverse: true })).toEqual({ q: "a", sort: "p95", reverse: true });
});
