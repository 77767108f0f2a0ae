// What somebody means by a text in a search box: an id, an event's name, a field's value, an error's text, or CEL.

export type Understood =
  | { kind: "id"; id: string }
  | { kind: "event"; name: string }
  | { kind: "field"; path: string; operator: string; value: string; where: string }
  | { kind: "error"; text: string; where: string }
  | { kind: "cel"; where: string };

export interface Hints {
  /** Names of events that are known: these need no slash to be taken for one. */
  names: ReadonlySet<string>;
  /** Runs have errors and outputs; events don't. */
  of: "runs" | "events";
}

const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i;
const PREFIXED = /^(error|event)\s*:\s*(\S.*)$/s;
const QUOTED = /^(["'])([^\\]*)\1$/s;
const FIELD = /^(data|event|output|run)((?:\.[\w-]+|\[\d+\]|\["[^"\\]*"\])+)\s*(==?|!=|<=?|>=?)\s*(\S.*)$/s;
const PART = /\.([\w-]+)|\[\d+\]|\["[^"\\]*"\]/g;
const LITERAL = /^(-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|null|"([^"\\]|\\.)*"|'([^'\\]|\\.)*')$/s;
const BARE_VALUE = /^[^\s"'()[\]{}&|=<>!?]+( [^\s"'()[\]{}&|=<>!?]+)*$/;
const CEL = /==|!=|<=|>=|&&|\|\||[<>?]|^!|\w\(|\bin\b\s*\[|^(data|event|output|run|error)[.[]/;
// What is written differently in CEL, as the server understands it, too: one "=", and "data" without "event".
const SHORT = /("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?<![=!<>])=(?!=)|(?<![\w.])data(?=[.[])/g;
const NAME_WITH_SLASH = /^[\w.$-]+(\/[\w.$*-]+)+$/;
const DOTTED_NAME = /^[a-z][\w-]*(\.[a-z][\w-]*)+$/;

/** Read a text; null when there is none. Nothing is an error here: what is no CEL is refused by the server. */
export function understand(typed: string, hints: Hints): Understood | null {
  const text = typed.trim();
  if (!text) return null;
  if (ULID.test(text)) return { kind: "id", id: text.toUpperCase() };
  const prefixed = PREFIXED.exec(text);
  if (prefixed?.[1] === "event" && prefixed[2]) return { kind: "event", name: prefixed[2] };
  if (hints.of === "runs") {
    const sought = prefixed?.[2] ?? QUOTED.exec(text)?.[2];
    if (sought) return errorText(sought);
  }
  if (hints.names.has(text)) return { kind: "event", name: text };
  const field = readField(text);
  if (field) return field;
  if (CEL.test(text)) return { kind: "cel", where: inFull(text) };
  if (NAME_WITH_SLASH.test(text) || DOTTED_NAME.test(text)) return { kind: "event", name: text };
  if (hints.of === "runs") return errorText(text);
  return /\s/.test(text) ? { kind: "cel", where: text } : { kind: "event", name: text };
}

/** Say in words how a text was understood. */
export function inWords(found: Understood): string {
  switch (found.kind) {
    case "id":
      return `id ${found.id}`;
    case "event":
      return `event ${found.name}`;
    case "field":
      return `${found.path} ${found.operator} ${found.value}`;
    case "error":
      return `error has “${found.text}”`;
    case "cel":
      return `where ${found.where}`;
  }
}

/** The condition to search by; undefined where it isn't one. */
export function whereOf(found: Understood | null): string | undefined {
  return found && "where" in found ? found.where : undefined;
}

/** Write CEL out, so that the places in the server's messages are those of what is shown. */
function inFull(text: string): string {
  return text.replace(SHORT, (short, quoted: string | undefined) => quoted ?? (short === "=" ? "==" : "event.data"));
}

function errorText(text: string): Understood {
  return { kind: "error", text, where: `error: ${text}` };
}

/** Read `data.user_id = 42`; a value that is a bare word is a text: `data.plan = pro`. */
function readField(text: string): Understood | null {
  const [, root, rest, typedOperator, typedValue] = FIELD.exec(text) ?? [];
  if (!root || !rest || !typedOperator || !typedValue) return null;
  const isLiteral = LITERAL.test(typedValue);
  if (!isLiteral && !BARE_VALUE.test(typedValue)) return null;
  const value = isLiteral ? typedValue : JSON.stringify(typedValue);
  const operator = typedOperator === "=" ? "==" : typedOperator;
  const fields = rest.replace(PART, (part, name: string | undefined) =>
    name === undefined || /^[A-Za-z_]\w*$/.test(name) ? part : `[${JSON.stringify(name)}]`,
  );
  const path = `${root === "data" ? "event.data" : root}${fields}`;
  return {
    kind: "field",
    path: root + rest,
    operator: operator === "==" ? "=" : operator,
    value,
    where: `${path} ${operator} ${value}`,
  };
}
