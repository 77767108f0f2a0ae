import { expect, test } from "vitest";
import { pretty } from "./json";

test("JSON is indented, and its texts and numbers stay as they were", () => {
  const text = '{"a":[1,{"b":"x, [y]: \\"z\\""}],"big":12345678901234567890.10,"none":{},"no":[]}';

  expect(pretty(text)).toBe(`{
  "a": [
    1,
    {
      "b": "x, [y]: \\"z\\""
    }
  ],
  "big": 12345678901234567890.10,
  "none": {},
  "no": []
}`);
});

test("what isn't JSON stays as it is", () => {
  expect(pretty('{"a":')).toBe('{"a":');
});
