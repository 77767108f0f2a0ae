export const LANGUAGES = ["python", "typescript", "curl"] as const;
export type Language = (typeof LANGUAGES)[number];

/** The state of the page that its address holds. */
export interface SendSearch {
  /** The id of an event to begin with. */
  event?: string;
  /** The event's name to begin with. */
  name?: string;
  code?: Language;
}

export function checkSendSearch(raw: Record<string, unknown>): SendSearch {
  const code = LANGUAGES.find((one) => one === raw.code);
  const name = typeof raw.name === "string" && raw.name ? raw.name : undefined;
  const event = typeof raw.event === "string" && raw.event ? raw.event : undefined;
  return { ...(event && { event }), ...(name && { name }), ...(code && { code }) };
}
