// What is in the editor, read: events, or what is wrong with it and where. Pure.
import { ExactNumber, parseExact } from "~/api/json";
import { faultOf } from "./jsonFault";

export interface EventToSend {
  name: string;
  data?: Record<string, unknown> | null;
  id?: string | null;
  ts?: number | null;
  user?: Record<string, unknown> | null;
  v?: string | null;
  meta?: Record<string, unknown> | null;
}

export type Payload = { events: EventToSend[]; problem?: undefined } | { events?: undefined; problem: string };

const KINDS: Record<string, (value: unknown) => boolean> = {
  name: (value) => typeof value === "string" && value !== "",
  data: isObjectOrNull,
  user: isObjectOrNull,
  meta: isObjectOrNull,
  id: (value) => value === null || typeof value === "string",
  v: (value) => value === null || typeof value === "string",
  ts: (value) => value === null || Number.isInteger(value),
};
const WORDS: Record<string, string> = {
  name: "a text that isn't empty",
  data: "an object",
  user: "an object",
  meta: "an object",
  id: "a text",
  v: "a text",
  ts: "a time in Unix milliseconds",
};

/** Read what stands in an event's `data`, alone. */
export function readData(
  text: string,
): { data: Record<string, unknown>; problem?: undefined } | { data?: undefined; problem: string } {
  if (text.trim() === "") return { data: {} };
  try {
    const value = parseExact(text);
    if (isObjectOrNull(value)) return { data: (value ?? {}) as Record<string, unknown> };
    return { problem: `$ must be ${WORDS.data}.` };
  } catch {
    return { problem: `This is no JSON: ${faultOf(text)}.` };
  }
}

/** Read one event, or a list of them. */
export function readPayload(text: string): Payload {
  if (text.trim() === "") return { problem: "There is nothing to send: write an event, or a list of them." };
  let value: unknown;
  try {
    value = parseExact(text);
  } catch {
    return { problem: `This is no JSON: ${faultOf(text)}.` };
  }
  const isList = Array.isArray(value);
  const all: unknown[] = isList ? (value as unknown[]) : [value];
  if (all.length === 0) return { problem: "The list is empty: write an event in it." };
  for (const [index, event] of all.entries()) {
    const problem = problemOf(event, isList ? `$[${index}]` : "$");
    if (problem) return { problem };
  }
  return { events: all as EventToSend[] };
}

function problemOf(event: unknown, path: string): string | null {
  if (event === null || typeof event !== "object" || !isObjectOrNull(event)) {
    return `${path} must be an object with a name: {"name": "user.signedup", "data": {…}}.`;
  }
  if (!("name" in event)) return `${path}.name is missing: the event's name says which functions it starts.`;
  for (const [field, value] of Object.entries(event)) {
    const fits = KINDS[field];
    if (!fits) return `${path}.${field} is no field of an event; what functions are to see belongs into data.`;
    if (!fits(value)) return `${path}.${field} must be ${WORDS[field]}.`;
  }
  return null;
}

function isObjectOrNull(value: unknown): boolean {
  return typeof value === "object" && !Array.isArray(value) && !(value instanceof ExactNumber);
}
