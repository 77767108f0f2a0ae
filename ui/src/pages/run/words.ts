// Times, sizes and ops in words.
import { durationText } from "~/parts/duration";
import { clockOf, dayAndClock, dayBefore } from "~/parts/instant";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** A place on the axis: as exact as its step needs. */
export function tickWords(ms: number, step: number): string {
  if (ms === 0) return "0";
  if (step < SECOND) return ms < SECOND ? `${ms} ms` : `${+(ms / SECOND).toFixed(3)} s`;
  return ms < MINUTE ? `${ms / SECOND} s` : durationText(ms);
}

/** The time of day with ms, in the reader's zone. */
export function clock(time: string): string {
  return `${clockOf(time)}.${String(new Date(time).getMilliseconds()).padStart(3, "0")}`;
}

const INSTANT = /(\d{4}-\d\d-\d\dT[\d:.]+Z)(?: \((in|for) [^)]*\))?/g;

/** Put the reader's time of day in place of the instants in a sentence of the server's; where it says how far off one is,
 * how far that is from `now`, in Unix ms of the server's clock. */
export function withClocks(sentence: string, now?: number): string {
  return sentence.replace(INSTANT, (whole, time: string, side: "in" | "for" | undefined) => {
    if (!side || now === undefined) return dayAndClock(time) + whole.slice(time.length);
    const left = Date.parse(time) - now;
    if (side === "for") return `${dayAndClock(time)} (for ${durationText(Math.max(0, -left))})`;
    return `${dayAndClock(time)} (${left < 500 ? "now" : `in ${durationText(Math.ceil(left / SECOND) * SECOND)}`})`;
  });
}

/** The date, where it isn't today's. */
export const dayOf = dayBefore;

export function bytes(count: number): string {
  if (count < 1_000) return `${count} B`;
  if (count < 1_000_000) return `${(count / 1_000).toFixed(count < 10_000 ? 1 : 0)} kB`;
  return `${(count / 1_000_000).toFixed(1)} MB`;
}

const OPS: Record<string, string> = {
  "step.run": "run",
  "step.sleep": "sleep",
  "step.waitForEvent": "wait for event",
  "step.waitForSignal": "wait for signal",
  "step.invoke": "invoke",
  "step.sendEvent": "send event",
  "step.fetch": "fetch",
  "step.ai.infer": "AI",
};

export function opWords(op: string | null): string {
  return op === null ? "function" : (OPS[op] ?? op.replace(/^step\./, ""));
}

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** When an id (a ULID) was made, in Unix ms; null where it is none. */
export function idTime(id: string): number | null {
  if (!/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i.test(id)) return null;
  let ms = 0;
  for (const sign of id.slice(0, 10).toUpperCase()) ms = ms * 32 + ALPHABET.indexOf(sign);
  return ms;
}
