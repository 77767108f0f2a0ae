import { expect, test } from "vitest";
import { safePath } from "./back";

const origin = "https://stepwell.example";

test("a path of ours is gone back to, with its search and its fragment", () => {
  expect(safePath("/runs?status=failed#end", origin)).toBe("/runs?status=failed#end");
});

test.each([
  undefined,
  7,
  "",
  "runs",
  "https://evil.example/runs",
  "//evil.example",
  "/\\evil.example",
  "/\t/evil.example",
  "javascript:alert(1)",
  "/login?back=/runs",
  "/setup",
])("%s leads to the start page", (raw) => {
  expect(safePath(raw, origin)).toBe("/");
});
