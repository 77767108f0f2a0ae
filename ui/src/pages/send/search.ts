/** The state of the page that its address holds. */
export type SendSearch = Record<never, never>;

export function checkSendSearch(_raw: Record<string, unknown>): SendSearch {
  return {};
}
