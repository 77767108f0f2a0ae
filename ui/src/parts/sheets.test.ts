import { expect, test } from "vitest";
import { sheetsOf } from "./sheets";
import { type Bound, EVERYWHERE, HERE, type Key } from "./useKeys";

const key = (does: string): Key => ({ does, act: () => {} });
const bound = (place: string, keys: Record<string, Key>, isOn = true): Bound => ({ place, keys, isOn });

test("the page's keys come first, then those of its parts, then those of every page", () => {
  const places = sheetsOf([
    bound(EVERYWHERE, { s: key("Send an event") }),
    bound("In the waterfall", { arrowdown: key("Next") }),
    bound(HERE, { "/": key("Search") }),
  ]).map((sheet) => sheet.place);
  expect(places).toEqual([HERE, "In the waterfall", EVERYWHERE]);
});

test("keys that do the same are one line, which is off when all of them are", () => {
  const [sheet] = sheetsOf([
    bound(HERE, { n: key("Show what is new"), ".": key("Show what is new") }, false),
    bound(HERE, { c: key("Cancel") }, false),
    bound(HERE, { c: key("Cancel") }, true),
  ]);
  expect(sheet?.lines).toEqual([
    { keys: ["n", "."], does: "Show what is new", isOn: false },
    { keys: ["c"], does: "Cancel", isOn: true },
  ]);
});
