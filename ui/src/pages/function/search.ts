/** The state of the page that its address holds. */
export type FunctionSearch = Record<never, never>;

export function checkFunctionSearch(_raw: Record<string, unknown>): FunctionSearch {
  return {};
}
