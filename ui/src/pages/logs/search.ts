export const LEVELS = ["info", "warning", "error"] as const;
export type Level = (typeof LEVELS)[number];
export const SPANS = ["15m", "1h", "24h"] as const;
export type Span = (typeof SPANS)[number];

/** The state of the page that its address holds. */
export interface LogsSearch {
  /** This level and those above; absent: all. */
  level?: Level;
  fn?: string;
  run?: string;
  /** Part of a message. */
  q?: string;
  /** The latest so much. */
  span?: Span;
  /** A fixed range instead: RFC 3339. */
  from?: string;
  until?: string;
  replayed?: true;
}

export function checkLogsSearch(raw: Record<string, unknown>): LogsSearch {
  const level = LEVELS.find((one) => one === raw.level);
  const span = SPANS.find((one) => one === raw.span);
  const from = instant(raw.from);
  const until = instant(raw.until);
  const fn = words(raw.fn);
  const run = words(raw.run);
  const q = words(raw.q);
  return {
    ...(level && { level }),
    ...(fn && { fn }),
    ...(run && { run }),
    ...(q && { q }),
    ...(span && !from && !until && { span }),
    ...(from && { from }),
    ...(until && { until }),
    ...(raw.replayed === true && { replayed: true as const }),
  };
}

function words(value: unknown): string | undefined {
  if (typeof value === "number") return String(value); // the router reads `q=42` as a number
  return typeof value === "string" && value !== "" ? value : undefined;
}

function instant(value: unknown): string | undefined {
  return typeof value === "string" && !Number.isNaN(Date.parse(value)) ? new Date(value).toISOString() : undefined;
}
