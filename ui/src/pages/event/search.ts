/** The state of the page that its address holds. */
export type EventSearch = Record<never, never>;

export function checkEventSearch(_raw: Record<string, unknown>): EventSearch {
  return {};
}
