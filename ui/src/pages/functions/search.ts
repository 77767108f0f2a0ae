export const SORTS = ["name", "runs", "failed", "p95", "backlog", "running", "last_error"] as const;
export type Sort = (typeof SORTS)[number];

/** The state of the page that its address holds. */
export interface FunctionsSearch {
  /** Part of a name, an id, an app or a trigger. */
  q?: string;
  sort?: Sort;
  /** The other way round than the column does by itself. */
  reverse?: true;
}

export function checkFunctionsSearch(raw: Record<string, unknown>): FunctionsSearch {
  const search: FunctionsSearch = {};
  const q = typeof raw.q === "number" ? String(raw.q) : raw.q; // the router reads `q=42` as a number
  if (typeof q === "string" && q) search.q = q;
  if (SORTS.includes(raw.sort as Sort) && raw.sort !== "name") search.sort = raw.sort as Sort;
  if (raw.reverse === true) search.reverse = true;
  return search;
}
