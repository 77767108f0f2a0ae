/** The state of the page that its address holds. */
export type SetupSearch = Record<never, never>;

export function checkSetupSearch(_raw: Record<string, unknown>): SetupSearch {
  return {};
}
