import { describe, expect, test } from "vitest";
import type { LogLine } from "~/api/live";
import { checkLogsSearch } from "./search";
import { EMPTY, HELD_MAX, isWanted, KEPT_MAX, withNew, withOlder } from "./tail";

function line(id: number, more: Partial<LogLine> = {}): LogLine {
  return {
    id: String(id).padStart(6, "0"),
    at: "2026-01-01T00:00:00Z",
    run_id: "r",
    function: "shop-pay",
    step_id: null,
    step: null,
    attempt_id: null,
    attempt: null,
    level: "info",
    logger: "app",
    message: "Paid 42",
    fields: null,
    is_replayed: false,
    ...more,
  };
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => line(from + i));
const ids = (tail: { lines: LogLine[] }) => tail.lines.map((one) => Number(one.id));

describe("lines", () => {
  test("stand oldest first, whichever way they came", () => {
    const first = withOlder(EMPTY, [line(9), line(8)], "8");
    const both = withOlder(first, [line(7), line(6)], null);
    expect(ids(both)).toEqual([6, 7, 8, 9]);
    expect(both.older).toBeNull();
  });
  test("are there once, though page and stream overlap", () => {
    const live = withNew(EMPTY, [line(3), line(4)], true);
    expect(ids(withOlder(live, [line(3), line(2)], null))).toEqual([2, 3, 4]);
    expect(withNew(live, [line(4)], true)).toBe(live);
  });
  test("that came late stand in their place", () => {
    expect(ids(withNew(withNew(EMPTY, [line(5)], true), [line(4)], true))).toEqual([4, 5]);
  });
  test("are let go at the top while one follows, and can be had again", () => {
    const tail = withNew(withNew(EMPTY, range(0, KEPT_MAX), true), [line(KEPT_MAX)], true);
    expect(tail.lines.length).toBe(KEPT_MAX);
    expect(tail.older).toBe(tail.lines[0]?.id);
  });
  test("are only counted when one doesn't follow and there are too many", () => {
    const tail = withNew({ ...EMPTY, lines: range(0, HELD_MAX) }, [line(HELD_MAX)], false);
    expect([tail.lines.length, tail.missed]).toEqual([HELD_MAX, 1]);
  });
});

test("lines that come in are judged as the server judges", () => {
  expect(isWanted(line(1), {})).toBe(true);
  expect(isWanted(line(1, { is_replayed: true }), {})).toBe(false);
  expect(isWanted(line(1, { is_replayed: true }), { replayed: true })).toBe(true);
  expect(isWanted(line(1), { level: "warning" })).toBe(false);
  expect(isWanted(line(1, { level: "critical" }), { level: "error" })).toBe(true);
  expect(isWanted(line(1), { fn: "other" })).toBe(false);
  expect(isWanted(line(1), { run: "other" })).toBe(false);
  expect(isWanted(line(1), { q: "PAID" })).toBe(true);
  expect(isWanted(line(1), { q: "refund" })).toBe(false);
});

test("an address with nonsense is the plain page", () => {
  expect(checkLogsSearch({ level: "loud", range: "3y", from: "soon", replayed: 1 })).toEqual({});
  expect(checkLogsSearch({ q: 42, from: "2026-01-01T00:00:00Z", range: "1h" })).toEqual({
    q: "42",
    from: "2026-01-01T00:00:00.000Z",
  });
});
