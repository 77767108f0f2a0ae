import { expect, test } from "vitest";
import { tokenOf } from "./token";

test("the token is in the fragment, which browsers send to no server", () => {
  expect(tokenOf("#token=abc_-1")).toBe("abc_-1");
  expect(tokenOf("#abc")).toBe("abc");
  expect(tokenOf("")).toBe("");
  expect(tokenOf("#other=1")).toBe("");
});
