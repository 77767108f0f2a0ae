// The lines that the page holds, oldest first: older ones come in above, new ones below. Pure.
import type { LogLine } from "~/api/live";
import type { LogsSearch } from "./search";

/** Held at most: beyond it the oldest go, as long as one follows the newest. */
export const KEPT_MAX = 5_000;
/** Where one doesn't follow, lines aren't taken away under one's eyes; beyond this, new ones are only counted. */
export const HELD_MAX = 2 * KEPT_MAX;

export interface Tail {
  lines: LogLine[];
  /** Where older ones go on; null: there are none. */
  older: string | null;
  /** How many lines came that aren't held. */
  missed: number;
}

export const EMPTY: Tail = { lines: [], older: null, missed: 0 };

/** Put a page of older lines, in any order, above. */
export function withOlder(tail: Tail, page: LogLine[], older: string | null): Tail {
  const known = new Set(tail.lines.map((line) => line.id));
  const fresh = page.filter((line) => !known.has(line.id)).sort(byId);
  return { ...tail, lines: fresh.length > 0 ? [...fresh, ...tail.lines].sort(byId) : tail.lines, older };
}

/** Put new lines below; those that are there already are left out. */
export function withNew(tail: Tail, news: LogLine[], isFollowing: boolean): Tail {
  const known = new Set(tail.lines.slice(-2_000).map((line) => line.id));
  const fresh = news.filter((line) => !known.has(line.id)).sort(byId);
  if (fresh.length === 0) return tail;
  if (!isFollowing && tail.lines.length + fresh.length > HELD_MAX) {
    return { ...tail, missed: tail.missed + fresh.length };
  }
  const last = tail.lines.at(-1);
  let lines = [...tail.lines, ...fresh];
  if (last && fresh[0] && fresh[0].id < last.id) lines.sort(byId);
  if (!isFollowing || lines.length <= KEPT_MAX) return { ...tail, lines };
  lines = lines.slice(-KEPT_MAX);
  return { ...tail, lines, older: lines[0]?.id ?? null };
}

const RANK: Record<string, number> = { debug: 10, info: 20, warning: 30, error: 40, critical: 50 };

/** Whether a line that comes in is one that the page shows, as the server would judge. */
export function isWanted(line: LogLine, search: LogsSearch): boolean {
  if (line.is_replayed && !search.replayed) return false;
  if (search.level && (RANK[line.level] ?? 0) < (RANK[search.level] ?? 0)) return false;
  if (search.fn && line.function !== search.fn) return false;
  if (search.run && line.run_id !== search.run) return false;
  if (search.q && !line.message.toLowerCase().includes(search.q.toLowerCase())) return false;
  return true;
}

function byId(a: LogLine, b: LogLine): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}
