// JSON with its numbers as they were written. JavaScript would make 12345678901234567000 of 12345678901234567890, and 1.1
// of 1.10; whoever looks for an id in a payload, or sends it again, needs the very digits.

/** A number that a double can't hold, or writes in another way. Where it is written as JSON again, its digits are. */
export class ExactNumber {
  constructor(readonly text: string) {}

  toJSON(): unknown {
    return raw?.(this.text);
  }

  toString(): string {
    return this.text;
  }
}

// Browsers have it since 2023 (Chromium) to 2025 (the others); in older ones numbers are read as doubles.
const raw = (JSON as { rawJSON?: (text: string) => unknown }).rawJSON;
type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown;
const parseWith = JSON.parse as (text: string, reviver: Reviver) => unknown;

/** Read JSON, with its numbers as they were written. Throws `SyntaxError`. */
export function parseExact(text: string): unknown {
  if (!raw || !hasInexact(text)) return JSON.parse(text);
  return parseWith(text, (_, value, context) => {
    const source = context?.source;
    return typeof value === "number" && source !== undefined && String(value) !== source
      ? new ExactNumber(source)
      : value;
  });
}

/** The server's fields that hold what users' code has sent; all others are the server's own, where a number is a number. */
const PAYLOADS: ReadonlySet<string> = new Set("data user meta example input output error fields attributes".split(" "));

/** Read what the server says: payloads in it keep their numbers as they were written. Throws `SyntaxError`. */
export function parseAnswer(text: string): unknown {
  return raw && hasInexact(text) ? withPlainNumbers(parseExact(text)) : JSON.parse(text);
}

function withPlainNumbers(value: unknown): unknown {
  if (value instanceof ExactNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map(withPlainNumbers);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [name, PAYLOADS.has(name) ? one : withPlainNumbers(one)]),
  );
}

// A number that may be written otherwise: many digits, zeros at the end, an exponent, the negative zero.
const SUSPECTS = /(?<=[[:,\s]|^)-?(?:[\d.]{16,}|\d+\.\d*0|[\d.]+[eE][-+]?\d+|0)(?=[\],}\s]|$)/g;

/** Tell whether it is worth while to look at each number, which takes several times as long: it mostly isn't. */
function hasInexact(text: string): boolean {
  for (const [number] of text.matchAll(SUSPECTS)) if (String(Number(number)) !== number) return true;
  return false;
}
