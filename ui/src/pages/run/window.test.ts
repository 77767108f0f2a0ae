import { expect, test } from "vitest";
import { clampWindow, dragEdge, isWhole, moveWindow, ticks, zoomWindow } from "./window";

test("a window moved past an end stops there, as wide as before", () => {
  expect(moveWindow({ from: 100, to: 300 }, 10_000, 1_000)).toEqual({ from: 800, to: 1_000 });
  expect(moveWindow({ from: 100, to: 300 }, -10_000, 1_000)).toEqual({ from: 0, to: 200 });
});

test("an edge dragged past the other stops before it", () => {
  expect(dragEdge({ from: 100, to: 300 }, "from", 900, 1_000)).toEqual({ from: 298, to: 300 });
  expect(dragEdge({ from: 100, to: 300 }, "to", 0, 1_000)).toEqual({ from: 100, to: 102 });
  expect(dragEdge({ from: 100, to: 300 }, "to", 5_000, 1_000)).toEqual({ from: 100, to: 1_000 });
});

test("zooming keeps the instant under the pointer, and ends at the whole", () => {
  expect(zoomWindow({ from: 0, to: 1_000 }, 0.5, 200, 1_000)).toEqual({ from: 100, to: 600 });
  expect(isWhole(zoomWindow({ from: 100, to: 600 }, 10, 200, 1_000), 1_000)).toBe(true);
});

test("a window is never too narrow to be of use", () => {
  const { from, to } = clampWindow({ from: 500, to: 500 }, 1_000_000);
  expect(to - from).toBe(500);
});

test.each([
  [{ from: 0, to: 10 }, 6, 2],
  [{ from: 0, to: 2_500 }, 6, 500],
  [{ from: 61_000, to: 95_000 }, 6, 10_000],
  [{ from: 0, to: 3 * 86_400_000 }, 6, 43_200_000],
])("ticks of %o are round and few", (window, count, step) => {
  const found = ticks(window, count);
  expect(found.step).toBe(step);
  expect(found.at.every((it) => it % step === 0 && it >= window.from && it <= window.to)).toBe(true);
  expect(found.at.length).toBeLessThanOrEqual(count + 1);
});
