import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Pacer } from "./pacer";

const GAP_MS = 150;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A pacer whose task takes `tookMs`, and when it began each time. */
function pacing(tookMs: number) {
  const began: number[] = [];
  const zero = performance.now();
  const pacer = new Pacer(async () => {
    began.push(performance.now() - zero);
    await new Promise((done) => setTimeout(done, tookMs));
  }, GAP_MS);
  return { pacer, began };
}

test("calls while it runs, and shortly after, become one more", async () => {
  const { pacer, began } = pacing(10);
  for (let n = 0; n < 5; n++) pacer.ask();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(began).toEqual([0, 10 + GAP_MS]);
});

test("after a quiet time the next change is not kept waiting, though asking is dear", async () => {
  const { pacer, began } = pacing(40);
  pacer.ask();
  pacer.ask();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(began).toEqual([0, 40 + GAP_MS]);
});

test("of a long time, a small share is spent on asking", async () => {
  const { pacer, began } = pacing(100);
  for (let ms = 0; ms < 60_000; ms += 50) {
    pacer.ask();
    await vi.advanceTimersByTimeAsync(50);
  }
  expect(began.length * 100).toBeLessThan(63_000 / 25 + 100);
});

test("one slow answer doesn't make a page stand still", async () => {
  const { pacer, began } = pacing(2_000);
  pacer.ask();
  pacer.ask();
  await vi.advanceTimersByTimeAsync(7_000);
  expect(began.length).toBe(2);
});

test("a task that fails is asked for again", async () => {
  let tries = 0;
  const pacer = new Pacer(async () => {
    tries += 1;
    throw new Error("offline");
  }, GAP_MS);
  pacer.ask();
  await vi.advanceTimersByTimeAsync(GAP_MS);
  pacer.ask();
  await vi.advanceTimersByTimeAsync(GAP_MS);
  expect(tries).toBe(2);
});
