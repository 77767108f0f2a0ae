import { expect, it } from "vitest";
import { withClocks } from "./words";

const AT = "2026-11-29T10:00:30.000Z";

it("counts down to what is to come", () => {
  const sentence = `sleeping until ${AT} (in 30s)`;
  expect(withClocks(sentence, Date.parse(AT) - 65_000)).toMatch(/\(in 1 min 5 s\)$/);
  expect(withClocks(sentence, Date.parse(AT) - 1_400)).toMatch(/\(in 2.0 s\)$/);
  expect(withClocks(sentence, Date.parse(AT) + 10)).toMatch(/\(now\)$/);
  expect(withClocks(sentence)).toMatch(/\(in 30s\)$/);
});

it("counts up what goes on", () => {
  const sentence = `step 'pay' has been running since ${AT} (for 12s): attempt 1`;
  expect(withClocks(sentence, Date.parse(AT) + 65_000)).toMatch(/\(for 1 min 5 s\): attempt 1$/);
  expect(withClocks(sentence, Date.parse(AT) - 10)).toMatch(/\(for 0 ms\): attempt 1$/);
});

it("writes instants as the reader's clock has them, and leaves the rest", () => {
  const words = withClocks(`it failed at ${AT}: ValueError: no (in 3 places)`, Date.parse(AT));
  expect(words).toMatch(/^it failed at .*\d\d:\d\d:\d\d: ValueError: no \(in 3 places\)$/);
});
