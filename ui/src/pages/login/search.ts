/** The state of the page that its address holds. */
export interface LoginSearch {
  /** The path that one came from. */
  back?: string;
}

export function checkLoginSearch(raw: Record<string, unknown>): LoginSearch {
  return typeof raw.back === "string" ? { back: raw.back } : {};
}
