import { expect, test } from "vitest";
import { codeOf, pythonLiteral } from "./code";
import { checkSendSearch } from "./search";

const dev = { url: "http://127.0.0.1:8288", isDev: true };

test("Python takes the name and its parts", () => {
  expect(codeOf("python", [{ name: "user.signedup", data: { id: 42, vip: true, ref: null } }], dev)).toBe(
    'await sw.send("user.signedup", {"id": 42, "vip": True, "ref": None})',
  );
  expect(codeOf("python", [{ name: "a", data: {}, id: "k", ts: 5 }], dev)).toBe('await sw.send("a", id="k", ts=5)');
});

test("Python takes whole events where there are several, or where a part has no argument", () => {
  expect(codeOf("python", [{ name: "a" }, { name: "b" }], dev)).toBe('await sw.send([{"name": "a"}, {"name": "b"}])');
  expect(codeOf("python", [{ name: "a", v: "2" }], dev)).toBe('await sw.send({"name": "a", "v": "2"})');
});

test("long literals are broken into lines", () => {
  expect(pythonLiteral({ text: "x".repeat(80), n: [1, 2] }, 0)).toBe(
    `{\n    "text": "${"x".repeat(80)}",\n    "n": [1, 2],\n}`,
  );
});

test("TypeScript sends an object, or a list", () => {
  expect(codeOf("typescript", [{ name: "a" }], dev)).toBe('await inngest.send({\n  "name": "a"\n});');
});

test("curl quotes for the shell, and takes the key from the environment outside of dev", () => {
  expect(codeOf("curl", [{ name: "it's" }], dev)).toBe(
    `curl "http://127.0.0.1:8288/e/dev" \\\n  --json '{\n  "name": "it'\\''s"\n}'`,
  );
  expect(codeOf("curl", [{ name: "a" }], { url: "https://s.example", isDev: false })).toContain(
    '"https://s.example/e/$STEPWELL_EVENT_KEY"',
  );
});

test("an address with nonsense is the plain page", () => {
  expect(checkSendSearch({ name: 7, code: "cobol" })).toEqual({});
  expect(checkSendSearch({ name: "a/b", code: "curl" })).toEqual({ name: "a/b", code: "curl" });
});
