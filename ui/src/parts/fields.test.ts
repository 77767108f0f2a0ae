import { expect, it } from "vitest";
import { fieldsText, tracebackOf } from "./fields";

it("writes fields in one line", () => {
  expect(fieldsText({ user: 42, plan: "free", tags: ["a"] })).toBe('user=42 plan=free tags=["a"]');
  expect(fieldsText(null)).toBe("");
});

it("keeps a traceback apart", () => {
  const fields = { user: 42, exception: "Traceback (most recent call last):\nValueError: no" };
  expect(fieldsText(fields)).toBe("user=42");
  expect(tracebackOf(fields)).toBe(fields.exception);
  expect(fieldsText({ exception: "ValueError" })).toBe("exception=ValueError");
  expect(tracebackOf({ exception: "ValueError" })).toBeUndefined();
});
