/** The state of the page that its address holds. */
export type EventsSearch = Record<never, never>;

export function checkEventsSearch(_raw: Record<string, unknown>): EventsSearch {
  return {};
}
