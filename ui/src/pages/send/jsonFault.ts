// Where a text stops being JSON, and what should stand there. Browsers say it differently, or not at all.

const TOKEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON strings may hold none
  /[ \t\n\r]*(?:("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)|([{}[\],:]))/y;
const SPACE = /[ \t\n\r]*/y;

type Wanted = "value" | "value or ]" | "name" | "name or }" | "colon" | "comma" | "end";

/** Say it, for a text that `JSON.parse` refuses: `line 2, column 11: a value is expected`. */
export function faultOf(text: string): string {
  const open: ("{" | "[")[] = [];
  let wanted: Wanted = "value";
  let at = 0;
  const after = (): Wanted => (open.length > 0 ? "comma" : "end");
  for (;;) {
    TOKEN.lastIndex = at;
    const [whole = "", quoted, plain, mark] = TOKEN.exec(text) ?? [];
    const token = quoted ? "string" : plain ? "plain" : mark;
    const isValue = wanted === "value" || wanted === "value or ]";
    if (isValue && (token === "string" || token === "plain")) wanted = after();
    else if (isValue && (token === "{" || token === "[")) {
      open.push(token);
      wanted = token === "{" ? "name or }" : "value or ]";
    } else if ((wanted === "name" || wanted === "name or }") && token === "string") wanted = "colon";
    else if (wanted === "colon" && token === ":") wanted = "value";
    else if (wanted === "comma" && token === ",") wanted = open.at(-1) === "{" ? "name" : "value";
    else if (closes(token, wanted, open.at(-1))) {
      open.pop();
      wanted = after();
    } else return `${placeOf(text, at)}: ${wordsOf(wanted, open.at(-1))} expected`;
    at += whole.length;
  }
}

function closes(token: string | undefined, wanted: Wanted, open: "{" | "[" | undefined): boolean {
  if (open === "{") return token === "}" && (wanted === "comma" || wanted === "name or }");
  return open === "[" && token === "]" && (wanted === "comma" || wanted === "value or ]");
}

function wordsOf(wanted: Wanted, open: "{" | "[" | undefined): string {
  switch (wanted) {
    case "value":
      return "a value is";
    case "value or ]":
      return "a value or ] is";
    case "name":
      return "a name in quotes is";
    case "name or }":
      return "a name in quotes or } is";
    case "colon":
      return "a colon is";
    case "comma":
      return `a comma or ${open === "{" ? "}" : "]"} is`;
    case "end":
      return "nothing more is";
  }
}

function placeOf(text: string, at: number): string {
  SPACE.lastIndex = at;
  const lines = text.slice(0, at + (SPACE.exec(text)?.[0].length ?? 0)).split("\n");
  return `line ${lines.length}, column ${(lines.at(-1)?.length ?? 0) + 1}`;
}
