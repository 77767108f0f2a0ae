// The time that a list and its chart are about: a preset that ends now, or two instants.

export const PRESETS = {
  "15m": { name: "Last 15 minutes", ms: 15 * 60_000 },
  "1h": { name: "Last hour", ms: 3_600_000 },
  "6h": { name: "Last 6 hours", ms: 6 * 3_600_000 },
  "24h": { name: "Last 24 hours", ms: 86_400_000 },
  "7d": { name: "Last 7 days", ms: 7 * 86_400_000 },
  "30d": { name: "Last 30 days", ms: 30 * 86_400_000 },
} as const;

export type Preset = keyof typeof PRESETS;

export interface RangeSearch {
  range?: Preset;
  from?: string;
  until?: string;
}

/** Of what an address says of a range, keep what is one. Two instants win over a preset. */
export function checkRange(raw: Record<string, unknown>): RangeSearch {
  const from = instant(raw.from);
  const until = instant(raw.until);
  if (from && until && from < until) return { from, until };
  if (from && raw.until === undefined) return { from };
  if (until && raw.from === undefined) return { until };
  const range = String(raw.range);
  return Object.hasOwn(PRESETS, range) ? { range: range as Preset } : {};
}

function instant(raw: unknown): string | undefined {
  if (typeof raw !== "string") return undefined;
  const at = Date.parse(raw);
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}

/** The instants of a range, for a list; a preset's end is open. */
export function bounds(range: RangeSearch, now: number): { from?: string; until?: string } {
  if (range.range) return { from: new Date(now - PRESETS[range.range].ms).toISOString() };
  return { from: range.from, until: range.until };
}

/** The instants of a chart (a preset says how long it is where an end is open), on the borders of its buckets, so that bars stay where they are while time goes on. */
export function chartBounds(
  range: RangeSearch & { range: Preset },
  now: number,
  buckets: number,
): { from: string; until: string } {
  const end = range.until ? Date.parse(range.until) : undefined;
  const start = range.from ? Date.parse(range.from) : undefined;
  if (start !== undefined && end !== undefined) return iso(start, end);
  if (start !== undefined) return iso(start, Math.max(now, start + buckets));
  const spanMs = PRESETS[range.range].ms;
  if (end !== undefined) return iso(end - spanMs, end);
  const bucketMs = spanMs / buckets;
  const last = (Math.floor(now / bucketMs) + 1) * bucketMs;
  return iso(last - spanMs, last);
}

function iso(from: number, until: number) {
  return { from: new Date(from).toISOString(), until: new Date(until).toISOString() };
}

/** Say a range in words. */
export function rangeName(range: RangeSearch): string {
  if (range.range) return PRESETS[range.range].name;
  if (range.from && range.until) return `${moment(range.from)} – ${moment(range.until, range.from)}`;
  if (range.from) return `Since ${moment(range.from)}`;
  return range.until ? `Until ${moment(range.until)}` : "Any time";
}

const DAY_AND_TIME = new Intl.DateTimeFormat("en", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const TIME = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

function moment(at: string, after?: string): string {
  const date = new Date(at);
  const isSameDay = after !== undefined && new Date(after).toDateString() === date.toDateString();
  return (isSameDay ? TIME : DAY_AND_TIME).format(date);
}
