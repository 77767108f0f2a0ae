/** The state of the page that its address holds. */
export type RunSearch = Record<never, never>;

export function checkRunSearch(_raw: Record<string, unknown>): RunSearch {
  return {};
}
