import { checkRange, type RangeSearch } from "~/lists/range";
import { texts } from "~/lists/texts";

export const LEVELS = ["info", "warning", "error"] as const;
export type Level = (typeof LEVELS)[number];

/** The state of the page that its address holds. */
export interface LogsSearch extends RangeSearch {
  /** This level and those above; absent: all. */
  level?: Level;
  fn?: string;
  run?: string;
  /** Part of a message. */
  q?: string;
  replayed?: true;
}

export function checkLogsSearch(raw: Record<string, unknown>): LogsSearch {
  const level = LEVELS.find((one) => one === raw.level);
  return {
    ...(level && { level }),
    ...texts(raw, ["fn", "run", "q"]),
    ...checkRange(raw),
    ...(raw.replayed === true && { replayed: true as const }),
  };
}
