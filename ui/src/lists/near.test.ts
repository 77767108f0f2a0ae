import { expect, it } from "vitest";
import { nearest } from "./near";

it("finds the names that somebody may have meant, the nearest first", () => {
  const names = ["user.signedup", "user.signed_up", "order.created", "x"];
  expect(nearest("user.singedup", names)).toEqual(["user.signedup", "user.signed_up"]);
  expect(nearest("User.SignedUp", names)[0]).toBe("user.signedup");
  expect(nearest("invoice.paid", names)).toEqual([]);
  expect(nearest("order.created", names)).toEqual([]);
});
