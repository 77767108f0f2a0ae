/** The state of the page that its address holds. */
export type FunctionsSearch = Record<never, never>;

export function checkFunctionsSearch(_raw: Record<string, unknown>): FunctionsSearch {
  return {};
}
