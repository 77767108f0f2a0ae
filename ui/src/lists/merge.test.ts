import { describe, expect, it } from "vitest";
import { newsAmong, patch, rowsOf, withNews } from "./merge";

const row = (id: string, status = "queued") => ({ id, status });
const pages = [
  { items: [row("08"), row("06")], next_cursor: "06" },
  { items: [row("04"), row("02")], next_cursor: "02" },
];
const ids = (rows: { id: string }[]) => rows.map((one) => one.id);

describe("a list", () => {
  it("shows each row once", () => {
    expect(ids(rowsOf([...pages, { items: [row("02"), row("01")], next_cursor: null }]))).toEqual([
      "08",
      "06",
      "04",
      "02",
      "01",
    ]);
  });

  it("patches rows in place and leaves the other pages alone", () => {
    const after = patch(pages, [row("04", "failed"), row("99")]);
    expect(ids(rowsOf(after))).toEqual(["08", "06", "04", "02"]);
    expect(after[1]?.items[0]?.status).toBe("failed");
    expect(after[0]).toBe(pages[0]);
  });

  it("counts as news what isn't shown, and not what is on pages that aren't loaded", () => {
    expect(ids(newsAmong(pages, [row("09"), row("08"), row("05"), row("01")]))).toEqual(["09", "05"]);
    expect(ids(newsAmong([{ items: [], next_cursor: null }], [row("01")]))).toEqual(["01"]);
  });

  it("shows news in their places", () => {
    const after = withNews(pages, [row("09"), row("05"), row("09"), row("08")]);
    expect(ids(rowsOf(after))).toEqual(["09", "08", "06", "05", "04", "02"]);
    expect(after.map((page) => page.next_cursor)).toEqual(["06", "02"]);
  });

  it("shows the first rows of an empty list", () => {
    expect(ids(rowsOf(withNews([{ items: [], next_cursor: null }], [row("01"), row("02")])))).toEqual(["02", "01"]);
  });
});
