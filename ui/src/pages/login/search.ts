/** The state of the page that its address holds. */
export type LoginSearch = Record<never, never>;

export function checkLoginSearch(_raw: Record<string, unknown>): LoginSearch {
  return {};
}
