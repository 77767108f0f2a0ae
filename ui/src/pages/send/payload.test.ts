import { describe, expect, test } from "vitest";
import { readData, readPayload } from "./payload";

test("one event and a list of them are read", () => {
  expect(readPayload('{"name":"a/b","data":{"x":1},"ts":5}').events).toEqual([{ name: "a/b", data: { x: 1 }, ts: 5 }]);
  expect(readPayload('[{"name":"a"},{"name":"b","data":null}]').events).toHaveLength(2);
});

describe("what is wrong is said with its place", () => {
  test.each([
    ["", "There is nothing to send: write an event, or a list of them."],
    ["[]", "The list is empty: write an event in it."],
    ["7", '$ must be an object with a name: {"name": "user.signedup", "data": {…}}.'],
    ['{"data":{}}', "$.name is missing: the event's name says which functions it starts."],
    ['[{"name":"a"},{"name":""}]', "$[1].name must be a text that isn't empty."],
    ['{"name":"a","data":[1]}', "$.data must be an object."],
    ['{"name":"a","ts":"now"}', "$.ts must be a time in Unix milliseconds."],
    ['{"name":"a","user_id":1}', "$.user_id is no field of an event; what functions are to see belongs into data."],
  ])("%s", (text, problem) => {
    expect(readPayload(text).problem).toBe(problem);
  });
  test.each([
    ['{\n  "name": oops\n}', "line 2, column 11: a value is expected"],
    ['{"name": "a",}', "line 1, column 14: a name in quotes is expected"],
    ['{"name" "a"}', "line 1, column 9: a colon is expected"],
    ['{"name": "a" "data": {}}', "line 1, column 14: a comma or } is expected"],
    ["[{}", "line 1, column 4: a comma or ] is expected"],
    ["{'name': 1}", "line 1, column 2: a name in quotes or } is expected"],
    ['{"name": 01}', "line 1, column 11: a comma or } is expected"],
    ['{"name": "a"}}', "line 1, column 14: nothing more is expected"],
    ['{"name": "a\nb"}', "line 1, column 10: a value is expected"],
  ])("also in JSON that isn't any: %s", (text, fault) => {
    expect(readPayload(text).problem).toBe(`This is no JSON: ${fault}.`);
  });
});

test("data alone is an object, or nothing", () => {
  expect(readData('{"a":1}').data).toEqual({ a: 1 });
  expect(readData("").data).toEqual({});
  expect(readData("null").data).toEqual({});
  expect(readData("[1]").problem).toBe("$ must be an object.");
  expect(readData("{").problem).toBe("This is no JSON: line 1, column 2: a name in quotes or } is expected.");
});
