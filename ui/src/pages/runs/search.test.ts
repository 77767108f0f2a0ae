import { describe, expect, it } from "vitest";
import { checkRunsSearch, statusesOf, toggled } from "./search";

describe("the address of the runs page", () => {
  it("keeps what it knows and drops what it doesn't", () => {
    expect(
      checkRunsSearch({ q: "data.a = 1", app: "shop", status: "failed,running,nonsense", range: "1h", x: 1 }),
    ).toEqual({
      q: "data.a = 1",
      app: "shop",
      status: "running,failed",
      range: "1h",
    });
    expect(checkRunsSearch({ q: "", status: "nonsense", range: 5, from: "?" })).toEqual({});
  });

  it("takes a search back as text, whatever the router made of it", () => {
    expect(checkRunsSearch({ q: 42 }).q).toBe("42");
    expect(checkRunsSearch({ q: true }).q).toBe("true");
    expect(checkRunsSearch({ q: { a: 1 } }).q).toBe('{"a":1}');
  });

  it("adds and takes away statuses; all of them are as good as none", () => {
    const failed = toggled({ q: "x" }, "failed");
    expect(failed).toEqual({ q: "x", status: "failed" });
    expect(toggled(failed, "running")).toEqual({ q: "x", status: "running,failed" });
    expect(toggled(failed, "failed")).toEqual({ q: "x" });
    expect(statusesOf(toggled({ status: "queued,running,completed,failed,cancelled" }, "skipped"))).toEqual([]);
  });
});
