import { expect, it } from "vitest";
import { asSent } from "./copies";

it("sends what was sent, and nothing that was empty", () => {
  const event = { name: "order.created", data: { id: 7 }, user: {}, v: null };
  expect(asSent(event)).toEqual({ name: "order.created", data: { id: 7 } });
  expect(asSent({ ...event, data: null, user: { id: 1 }, v: "2" })).toEqual({
    name: "order.created",
    data: {},
    user: { id: 1 },
    v: "2",
  });
});
