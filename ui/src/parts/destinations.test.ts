import { expect, test } from "vitest";
import { destinations } from "./destinations";

const FUNCTIONS = [
  { slug: "shop-charge", name: "Charge a card" },
  { slug: "shop-refund", name: "shop-refund" },
  { slug: "crm-sync", name: "crm-sync" },
];

test("nothing typed offers the pages", () => {
  expect(destinations("", FUNCTIONS).map((one) => one.name)).toContain("Logs");
  expect(destinations(" ", FUNCTIONS).every((one) => one.kind === "page")).toBe(true);
});

test("an id may be of a run or of an event", () => {
  const id = "01k5hjx9m2p8q4r6s7t8v9w0x1";
  expect(destinations(` ${id} `, FUNCTIONS).map((one) => one.href)).toEqual([
    `/runs/${id.toUpperCase()}`,
    `/events/${id.toUpperCase()}`,
  ]);
});

test("a part of its name or slug finds a function, and the runs can be searched for it", () => {
  expect(destinations("SHOP-", FUNCTIONS).map((one) => one.name)).toEqual([
    "Charge a card",
    "shop-refund",
    "Search runs for SHOP-",
  ]);
  expect(destinations("charge a", FUNCTIONS)[0]).toMatchObject({ name: "Charge a card", detail: "shop-charge" });
});

test("a name is kept whole in an address", () => {
  expect(destinations("a/b", [{ slug: "a/b?", name: "?" }])[0]?.href).toBe("/functions/a%2Fb%3F");
});
