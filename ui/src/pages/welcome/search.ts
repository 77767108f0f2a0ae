/** The state of the page that its address holds. */
export type WelcomeSearch = Record<never, never>;

export function checkWelcomeSearch(_raw: Record<string, unknown>): WelcomeSearch {
  return {};
}
