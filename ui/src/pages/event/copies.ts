// An event as a program that sends it again.
import type { EventView, Json } from "~/api/api.gen";

type Sent = Pick<EventView, "name" | "data" | "user" | "v">;

/** What to send: as it was, with an id and a time of its own. */
export function asSent({ name, data, user, v }: Sent): Record<string, Json> {
  return { name, data: data ?? {}, ...(isEmpty(user) ? {} : { user }), ...(v ? { v } : {}) };
}

/** A command for a shell; where the server wants to know who asks, with the token that the shell has. */
export function asCurl(event: Sent, server: string, needsToken: boolean): string {
  const lines = [`curl -X POST ${shell(`${server}/api/events`)}`, "-H 'Content-Type: application/json'"];
  if (needsToken) lines.push('-H "Authorization: Bearer $STEPWELL_API_TOKEN"');
  lines.push(`-d ${shell(JSON.stringify(asSent(event)))}`);
  return `${lines.join(" \\\n  ")}\n`;
}

/** A call of the SDK, for an app that is called `sw`. */
export function asPython(event: Sent): string {
  const lines = [literal(event.name), literal(event.data ?? {}, 1)];
  if (!isEmpty(event.user)) lines.push(`user=${literal(event.user, 1)}`);
  return `await sw.send(\n${lines.map((line) => `    ${line},\n`).join("")})\n`;
}

function isEmpty(value: Json): boolean {
  return value === null || value === undefined || (typeof value === "object" && Object.keys(value).length === 0);
}

function shell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A value as Python writes it. */
function literal(value: Json, depth = 0): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const items = isList
    ? value.map((one) => literal(one, depth + 1))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one, depth + 1)}`);
  const [open, close] = isList ? "[]" : "{}";
  if (items.length === 0) return `${open}${close}`;
  const pad = "    ".repeat(depth + 1);
  return `${open}\n${items.map((item) => `${pad}${item},\n`).join("")}${"    ".repeat(depth)}${close}`;
}
