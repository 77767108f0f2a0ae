import { describe, expect, it } from "vitest";
import { each } from "./each";

describe("each", () => {
  it("does all, tells how far it is, and keeps what failed with its reason", async () => {
    const seen: number[] = [];
    const act = async (id: string) => {
      if (id === "c") throw new Error("it has ended already");
      return id.toUpperCase();
    };
    const end = await each(
      ["a", "b", "c", "d", "e", "f"],
      act,
      ({ done }) => seen.push(done),
      new AbortController().signal,
    );
    expect(end.results.toSorted()).toEqual(["A", "B", "D", "E", "F"]);
    expect(end.failures).toEqual([{ id: "c", message: "it has ended already" }]);
    expect(seen).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it("begins no more after it was stopped", async () => {
    const stop = new AbortController();
    const begun: string[] = [];
    const act = async (id: string) => {
      begun.push(id);
      stop.abort();
    };
    await each(["a", "b", "c", "d", "e", "f"], act, () => {}, stop.signal);
    expect(begun.length).toBeLessThanOrEqual(4);
  });
});
