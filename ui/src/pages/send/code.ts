// The same events as code: for our SDK, for the TypeScript one, for a shell. Pure.
import { ExactNumber } from "~/api/json";
import type { EventToSend } from "./payload";
import type { Language } from "./search";

export const LANGUAGE_NAMES: Record<Language, string> = { python: "Python", typescript: "TypeScript", curl: "curl" };

/** Write code that sends events to the server at `url`; outside of dev with an event key, which isn't ours to know. */
export function codeOf(language: Language, events: EventToSend[], server: { url: string; isDev: boolean }): string {
  switch (language) {
    case "python":
      return pythonCode(events);
    case "typescript":
      return typescriptCode(events);
    case "curl":
      return curlCode(events, server);
  }
}

function pythonCode(events: EventToSend[]): string {
  const [first, ...others] = events;
  if (!first || others.length > 0) return `await sw.send(${pythonLiteral(events, 0)})`;
  const { name, data, ...rest } = first;
  const named = Object.entries(rest).filter(([, value]) => value !== null);
  // The name and its parts; what `send` has no argument for goes in a whole event.
  if (named.some(([field]) => !["id", "ts", "user"].includes(field)))
    return `await sw.send(${pythonLiteral(first, 0)})`;
  const parts = [pythonLiteral(name, 0)];
  if (data && Object.keys(data).length > 0) parts.push(pythonLiteral(data, 0));
  parts.push(...named.map(([field, value]) => `${field}=${pythonLiteral(value, 0)}`));
  return `await sw.send(${parts.join(", ")})`;
}

function typescriptCode(events: EventToSend[]): string {
  const [first, ...others] = events;
  return `await inngest.send(${JSON.stringify(others.length === 0 ? first : events, null, 2)});`;
}

function curlCode(events: EventToSend[], { url, isDev }: { url: string; isDev: boolean }): string {
  const [first, ...others] = events;
  const body = JSON.stringify(others.length === 0 ? first : events, null, 2);
  const key = isDev ? "dev" : "$STEPWELL_EVENT_KEY";
  return `curl "${url}/e/${key}" \\\n  --json '${body.replaceAll("'", "'\\''")}'`;
}

/** JSON as Python writes it, on one line where it is short. */
export function pythonLiteral(value: unknown, depth: number): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value instanceof ExactNumber) return value.text;
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  const items = Array.isArray(value)
    ? value.map((item) => pythonLiteral(item, depth + 1))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${pythonLiteral(item, depth + 1)}`);
  const line = `${open}${items.join(", ")}${close}`;
  if (line.length <= 72 && !line.includes("\n")) return line;
  const indent = "    ".repeat(depth + 1);
  return `${open}\n${items.map((item) => `${indent}${item},\n`).join("")}${"    ".repeat(depth)}${close}`;
}
