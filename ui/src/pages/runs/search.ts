// The state of the page that its address holds.
import type { RunStatus } from "~/api/api.gen";
import { checkRange, type RangeSearch } from "~/lists/range";
import { texts } from "~/lists/texts";

export const STATUSES = ["queued", "running", "completed", "failed", "cancelled", "skipped"] as const;

export interface RunsSearch extends RangeSearch {
  q?: string;
  app?: string;
  function?: string;
  /** One or several, with commas, in the order of `STATUSES`. */
  status?: string;
}

export function checkRunsSearch(raw: Record<string, unknown>): RunsSearch {
  return {
    ...texts(raw, ["q", "app", "function"]),
    ...statusSearch(statusesOf({ status: String(raw.status ?? "") })),
    ...checkRange(raw),
  };
}

export function statusesOf(search: { status?: string }): RunStatus[] {
  const named = (search.status ?? "").split(",");
  return STATUSES.filter((status) => named.includes(status));
}

export function statusSearch(statuses: readonly RunStatus[]): { status?: string } {
  const ordered = STATUSES.filter((status) => statuses.includes(status));
  return ordered.length > 0 && ordered.length < STATUSES.length ? { status: ordered.join(",") } : {};
}

/** Choose a status as well, or no more. */
export function toggled(search: RunsSearch, status: RunStatus): RunsSearch {
  const { status: _, ...rest } = search;
  const chosen = statusesOf(search);
  const next = chosen.includes(status) ? chosen.filter((one) => one !== status) : [...chosen, status];
  return { ...rest, ...statusSearch(next) };
}

/** Whether anything is filtered by. */
export function isFiltered(search: RunsSearch): boolean {
  return Object.keys(search).length > 0;
}
