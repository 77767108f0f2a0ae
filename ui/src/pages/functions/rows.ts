// The rows of the list: functions with their numbers, searched and sorted. Pure.
import type { FunctionSummary, FunctionView } from "~/api/api.gen";
import type { FunctionsSearch, Sort } from "./search";

export interface Row {
  fn: FunctionView;
  /** Absent until the numbers are there. */
  stats: FunctionSummary | undefined;
}

/** Put functions and numbers together, leave out what the search doesn't want, and sort. */
export function rowsOf(functions: FunctionView[], stats: FunctionSummary[], search: FunctionsSearch): Row[] {
  const bySlug = new Map(stats.map((one) => [one.slug, one]));
  const rows = functions.filter((fn) => matches(fn, search.q ?? "")).map((fn) => ({ fn, stats: bySlug.get(fn.slug) }));
  const order = ORDERS[search.sort ?? "name"];
  const sign = search.reverse ? -1 : 1;
  return rows.sort((a, b) => sign * order(a, b) || a.fn.slug.localeCompare(b.fn.slug));
}

/** Each word must be somewhere: in the name, the id, the app, a trigger; or be "paused". */
export function matches(fn: FunctionView, query: string): boolean {
  const text = [
    fn.slug,
    fn.name,
    fn.app,
    ...fn.triggers.flatMap(({ event, cron }) => [event, cron]),
    fn.pause ? "paused" : "",
  ]
    .join(" ")
    .toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** How many of the ended runs failed, 0 to 1; null where none ended. */
export function failureRate(stats: FunctionSummary | undefined): number | null {
  return stats && stats.runs > 0 ? stats.failed / stats.runs : null;
}

type Order = (a: Row, b: Row) => number;

/** Numbers sort by the highest first, names from A; what has no number comes last. */
const ORDERS: Record<Sort, Order> = {
  name: (a, b) => a.fn.name.localeCompare(b.fn.name),
  runs: byNumber((stats) => stats.runs),
  failed: byNumber((stats) => failureRate(stats)),
  p95: byNumber((stats) => stats.p95_ms),
  backlog: byNumber((stats) => stats.backlog),
  running: byNumber((stats) => stats.running),
  last_error: byNumber((stats) => (stats.last_failed ? Date.parse(stats.last_failed.at) : null)),
};

function byNumber(of: (stats: FunctionSummary) => number | null): Order {
  const number = ({ stats }: Row) => (stats && of(stats)) ?? -1;
  return (a, b) => number(b) - number(a);
}
