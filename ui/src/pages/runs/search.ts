/** The state of the page that its address holds. */
export type RunsSearch = Record<never, never>;

export function checkRunsSearch(_raw: Record<string, unknown>): RunsSearch {
  return {};
}
