import { expect, test } from "vitest";
import { fill, refusal, search } from "./client";

test("a path's parameters are escaped", () => {
  expect(fill("/api/runs/{id}/rows/{row}", { id: "a/b", row: 1 })).toBe("/api/runs/a%2Fb/rows/1");
});

test("what a query leaves empty isn't sent", () => {
  expect(search({ app: "", status: undefined, where: "a == 1", limit: 0 })).toBe("?where=a+%3D%3D+1&limit=0");
});

test("an answer that isn't the server's own form is an error, too", () => {
  expect(refusal(502, "<html>")).toMatchObject({ status: 502, code: "http_502", kind: "failed" });
  expect(refusal(401, '{"error":{"code":"no_session","message":"Log in"}}').kind).toBe("unauthorised");
});
