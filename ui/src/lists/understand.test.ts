import { describe, expect, it } from "vitest";
import { type Hints, inWords, understand, whereOf } from "./understand";

const RUNS: Hints = { names: new Set(["signup", "Order Placed"]), of: "runs" };
const EVENTS: Hints = { names: new Set(), of: "events" };

describe("understand", () => {
  it.each([
    ["01JDR7K8ZQ4M0V6X3T2B9C5E1F", "id"],
    ["01jdr7k8zq4m0v6x3t2b9c5e1f", "id"],
    ["user/signed.up", "event"],
    ["order.created", "event"],
    ["signup", "event"],
    ["Order Placed", "event"],
    ["event: Anything", "event"],
    ["data.user_id = 42", "field"],
    ["data.plan = pro", "field"],
    ["output.total >= 9.5", "field"],
    ["run.status == 'failed'", "field"],
    ["error: connection refused", "error"],
    ['"user/signed.up"', "error"],
    ["connection refused", "error"],
    ["TimeoutError", "error"],
    ["ValueError: no such user", "error"],
    ["data.a = 1 && data.b = 2", "cel"],
    ["size(event.data.items) > 3", "cel"],
    ["event.data.items[0].sku", "cel"],
    ["!event.data.paid", "cel"],
  ])("takes %s for an %s", (text, kind) => {
    expect(understand(text, RUNS)?.kind).toBe(kind);
  });

  it("has nothing to say of nothing", () => {
    expect(understand("  ", RUNS)).toBeNull();
    expect(whereOf(null)).toBeUndefined();
  });

  it.each([
    ["data.user_id = 42", "event.data.user_id == 42"],
    ["data.plan = pro", 'event.data.plan == "pro"'],
    ["data.plan != 'pro'", "event.data.plan != 'pro'"],
    ["data.user-id = 7", 'event.data["user-id"] == 7'],
    ["data.items[0].sku = A 1", 'event.data.items[0].sku == "A 1"'],
    ["event.user.id = true", "event.user.id == true"],
    ["output.ok = null", "output.ok == null"],
  ])("makes a condition of %s", (text, where) => {
    expect(whereOf(understand(text, RUNS))).toBe(where);
  });

  it("writes CEL out, and leaves texts in it alone", () => {
    const where = (text: string) => whereOf(understand(text, RUNS));
    expect(where('data.a = 1 && event.data.b != "data.x = 2"')).toBe(
      'event.data.a == 1 && event.data.b != "data.x = 2"',
    );
    expect(where("data.a == 1 || data.b <= 2")).toBe("event.data.a == 1 || event.data.b <= 2");
  });

  it("sends an error's text whole, whatever is in it", () => {
    expect(whereOf(understand('"a && b"', RUNS))).toBe("error: a && b");
  });

  it("knows that events have no errors", () => {
    expect(understand("signedup", EVENTS)).toEqual({ kind: "event", name: "signedup" });
    expect(understand("size(event.data.items) > 3", EVENTS)?.kind).toBe("cel");
    expect(understand("what is this", EVENTS)?.kind).toBe("cel");
  });

  it("says what it took it for", () => {
    const said = (text: string) => {
      const found = understand(text, RUNS);
      return found && inWords(found);
    };
    expect(said("data.user_id = 42")).toBe("data.user_id = 42");
    expect(said("user/signed.up")).toBe("event user/signed.up");
    expect(said("no route to host")).toBe("error has “no route to host”");
  });
});
