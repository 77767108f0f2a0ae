export const SPANS = [1, 6, 24, 168] as const;

/** The state of the page that its address holds. */
export interface FunctionSearch {
  /** How far back the charts go; absent: 24. */
  hours?: number;
}

export function checkFunctionSearch(raw: Record<string, unknown>): FunctionSearch {
  const hours = SPANS.find((one) => one === raw.hours);
  return hours && hours !== 24 ? { hours } : {};
}
