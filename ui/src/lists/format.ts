// Numbers as lists show them.

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** A count: exact up to 9,999, then rounded, such as 12.3K. */
export function count(number: number): string {
  return number < 10_000 ? number.toLocaleString("en") : COMPACT.format(number);
}

/** Many or one: `1 run`, `2 runs`. */
export function many(number: number, noun: string): string {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
