import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Pacer } from "./pacer";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A pacer whose task takes some time; counts how often it began. */
function paced(tookMs: number) {
  const begun = { count: 0 };
  const pacer = new Pacer(() => {
    begun.count += 1;
    return new Promise((resolve) => setTimeout(resolve, tookMs));
  }, 100);
  return { pacer, begun };
}

test("what is asked while the task runs, and shortly after, becomes one more", async () => {
  const { pacer, begun } = paced(1);
  pacer.ask();
  pacer.ask();
  pacer.ask();
  expect(begun.count).toBe(1);
  await vi.advanceTimersByTimeAsync(102);
  expect(begun.count).toBe(2);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(begun.count).toBe(2);
});

test("a server that answers late is asked less often, but within seconds", async () => {
  const { pacer, begun } = paced(100);
  pacer.ask();
  pacer.ask();
  await vi.advanceTimersByTimeAsync(2_500);
  expect(begun.count).toBe(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(begun.count).toBe(2);

  const slow = paced(2_000);
  slow.pacer.ask();
  slow.pacer.ask();
  await vi.advanceTimersByTimeAsync(7_000);
  expect(slow.begun.count).toBe(2);
});
