export const KITS = ["stepwell", "inngest-python", "inngest-typescript"] as const;
export type Kit = (typeof KITS)[number];

/** The state of the page that its address holds. */
export interface WelcomeSearch {
  kit?: Kit;
}

export function checkWelcomeSearch(raw: Record<string, unknown>): WelcomeSearch {
  const kit = KITS.find((one) => one === raw.kit);
  return kit ? { kit } : {};
}
