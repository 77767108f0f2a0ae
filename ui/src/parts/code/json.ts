/** More of a text isn't laid out unasked: its highlighting would take too long. */
export const SHOWN_CHARS_MAX = 400_000;

/** Indent JSON without reading its numbers, which may be larger than a double holds. What isn't JSON stays as it is. */
export function pretty(text: string): string {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  const out: string[] = [];
  let depth = 0;
  const newLine = () => out.push("\n", "  ".repeat(depth));
  // A string, a mark, or a run of anything else but space.
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g)) {
    const last = out.at(-1);
    if (token === "}" || token === "]") {
      depth -= 1;
      if (last === "{" || last === "[") out.push(token);
      else {
        newLine();
        out.push(token);
      }
      continue;
    }
    if (last === "{" || last === "[" || last === ",") newLine();
    if (token === "{" || token === "[") depth += 1;
    out.push(token === ":" ? ": " : token);
  }
  return out.join("");
}

/** Hand a text to the browser as a file. */
export function download(name: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name.replace(/[^\w.-]+/g, "-");
  link.click();
  URL.revokeObjectURL(url);
}
