import { expect, test } from "vitest";
import { ExactNumber, parseAnswer, parseExact } from "./json";

// Node has it since version 21; every browser that is kept up to date has it.
const canBeExact = "rawJSON" in JSON;

test
  .runIf(canBeExact)
  .each([
    "12345678901234567890",
    "-12345678901234567890",
    "1.10",
    "1.0",
    "-0",
    "-0.0",
    "1e3",
    "1E-7",
    "0.1234567890123456789",
    "123456789.12345678901",
    "1e400",
  ])("%s stays as it was written", (number) => {
  for (const text of [`{"a":${number}}`, `[${number},1]`, `[1,${number}]`, `[[${number}]]`, number]) {
    expect(JSON.stringify(parseExact(text))).toBe(text);
  }
  expect(JSON.stringify(parseExact(`{ "a": ${number} }`))).toBe(`{"a":${number}}`);
});

test("numbers that a double holds are numbers, and texts are texts", () => {
  const text = '{"a":[0,-1,42,0.5,1234.5,0.30000000000000004],"b":"1.10","c":": 1.10, [1e3]"}';
  expect(parseExact(text)).toStrictEqual(JSON.parse(text));
});

test("the server's own numbers are numbers, also beside payloads", () => {
  const answer = parseAnswer('{"p50_ms":12.0,"items":[{"limit":1e3,"data":{"a":1.10,"limit":1.0}}]}') as {
    p50_ms: number;
    items: { limit: number; data: { a: unknown } }[];
  };
  expect(answer.p50_ms).toBe(12);
  expect(answer.items[0]?.limit).toBe(1000);
  if (canBeExact) expect(answer.items[0]?.data).toEqual({ a: new ExactNumber("1.10"), limit: new ExactNumber("1.0") });
});

test("what isn't JSON is refused", () => {
  expect(() => parseExact('{"a": 1.10')).toThrow(SyntaxError);
  expect(() => parseAnswer("1.10.2")).toThrow(SyntaxError);
});
