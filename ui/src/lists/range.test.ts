import { describe, expect, it } from "vitest";
import { bounds, chartBounds, checkRange, rangeName } from "./range";

const NOW = Date.parse("2026-11-24T12:34:56.000Z");

describe("a range", () => {
  it("is read from an address, and what is none is left out", () => {
    expect(checkRange({ range: "1h" })).toEqual({ range: "1h" });
    expect(checkRange({ range: "1y" })).toEqual({});
    expect(checkRange({ range: "toString" })).toEqual({});
    expect(checkRange({ from: "2026-11-24T10:00:00Z", until: "2026-11-24T11:00:00Z", range: "1h" })).toEqual({
      from: "2026-11-24T10:00:00.000Z",
      until: "2026-11-24T11:00:00.000Z",
    });
    expect(checkRange({ from: "2026-11-24T11:00:00Z", until: "2026-11-24T10:00:00Z" })).toEqual({});
    expect(checkRange({ from: "yesterday", until: 5 })).toEqual({});
    expect(checkRange({ from: "2026-11-24T11:00:00Z" })).toEqual({ from: "2026-11-24T11:00:00.000Z" });
  });

  it("has an open end when it is a preset", () => {
    expect(bounds({ range: "1h" }, NOW)).toEqual({ from: "2026-11-24T11:34:56.000Z" });
    expect(bounds({}, NOW)).toEqual({});
  });

  it("puts a chart on the borders of its buckets, with now in the last one", () => {
    const { from, until } = chartBounds({ range: "1h" }, NOW, 60);
    expect(until).toBe("2026-11-24T12:35:00.000Z");
    expect(from).toBe("2026-11-24T11:35:00.000Z");
    expect(chartBounds({ range: "1h" }, NOW + 3_000, 60)).toEqual({ from, until });
  });

  it("puts a chart on what was chosen exactly", () => {
    const chosen = { from: "2026-11-24T10:00:00.000Z", until: "2026-11-24T11:00:00.000Z" };
    expect(chartBounds({ ...chosen, range: "1h" }, NOW, 60)).toEqual(chosen);
  });

  it("has a name", () => {
    expect(rangeName({ range: "7d" })).toBe("Last 7 days");
    expect(rangeName({})).toBe("Any time");
  });
});
