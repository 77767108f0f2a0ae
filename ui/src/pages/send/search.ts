/** The state of the page that its address holds. */
export interface SendSearch {
  /** The id of an event to begin with. */
  event?: string;
}

export function checkSendSearch(raw: Record<string, unknown>): SendSearch {
  return typeof raw.event === "string" ? { event: raw.event } : {};
}
