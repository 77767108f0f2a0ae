/** The state of the page that its address holds. Each part is absent where it is the page's default. */
export interface RunSearch {
  /** The id of the row that the pane is about. */
  row?: string;
  tab?: Tab;
  /** Part of a step's title, op or error. */
  q?: string;
  errors?: true;
  /** Calls that only asked the function what is next are left out. */
  replays?: false;
  fold?: "all" | "none";
  /** The part of the run that is shown: ms from its start. */
  from?: number;
  to?: number;
  level?: Level;
  /** Part of a log line. */
  log?: string;
}

export const TABS = ["output", "input", "error", "facts", "logs", "event", "config", "family"] as const;
export type Tab = (typeof TABS)[number];
export const LEVELS = ["debug", "info", "warning", "error"] as const;
export type Level = (typeof LEVELS)[number];

export function checkRunSearch(raw: Record<string, unknown>): RunSearch {
  const from = instant(raw.from);
  const to = instant(raw.to);
  const hasWindow = from !== undefined && to !== undefined && from < to;
  return {
    row: words(raw.row),
    tab: one(TABS, raw.tab),
    q: words(raw.q),
    errors: raw.errors === true ? true : undefined,
    replays: raw.replays === false ? false : undefined,
    fold: one(["all", "none"] as const, raw.fold),
    from: hasWindow ? from : undefined,
    to: hasWindow ? to : undefined,
    level: one(LEVELS, raw.level),
    log: words(raw.log),
  };
}

function words(value: unknown): string | undefined {
  if (typeof value === "number") return String(value); // the router reads `q=42` as a number
  return typeof value === "string" && value !== "" ? value : undefined;
}

function one<T extends string>(known: readonly T[], value: unknown): T | undefined {
  return known.find((it) => it === value);
}

function instant(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}
