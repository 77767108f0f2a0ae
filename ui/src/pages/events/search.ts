// The state of the page that its address holds.
import { checkRange, type RangeSearch } from "~/lists/range";
import { texts } from "~/lists/texts";

export interface EventsSearch extends RangeSearch {
  q?: string;
  /** With the events that the server itself sends. */
  internal?: true;
}

export function checkEventsSearch(raw: Record<string, unknown>): EventsSearch {
  return {
    ...texts(raw, ["q"]),
    ...(raw.internal === true || raw.internal === "true" ? { internal: true as const } : {}),
    ...checkRange(raw),
  };
}

/** Whether anything is left out. */
export function isFiltered(search: EventsSearch): boolean {
  return Object.keys(search).some((name) => name !== "internal");
}
