import { expect, test } from "vitest";
import { destinations } from "./destinations";

const SLUGS = ["shop-charge", "shop-refund", "crm-sync"];

test("nothing typed offers the pages", () => {
  expect(destinations("", SLUGS).map((one) => one.name)).toContain("Logs");
  expect(destinations(" ", SLUGS).every((one) => one.kind === "page")).toBe(true);
});

test("an id may be of a run or of an event", () => {
  const id = "01k5hjx9m2p8q4r6s7t8v9w0x1";
  expect(destinations(` ${id} `, SLUGS).map((one) => one.href)).toEqual([
    `/runs/${id.toUpperCase()}`,
    `/events/${id.toUpperCase()}`,
  ]);
});

test("a part of its name finds a function, and the runs can be searched for it", () => {
  expect(destinations("SHOP-", SLUGS).map((one) => one.name)).toEqual([
    "shop-charge",
    "shop-refund",
    "Search runs for SHOP-",
  ]);
});

test("a name is kept whole in an address", () => {
  expect(destinations("a/b", ["a/b?"])[0]?.href).toBe("/functions/a%2Fb%3F");
});
