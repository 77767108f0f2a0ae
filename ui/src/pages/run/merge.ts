// A run's rows as they change: what ended stays as it is, what was open comes anew with each answer.
import type { Timeline, TimelineRow } from "~/api/api.gen";

/** How far before an answer's moment the next one begins: what was committed just then may have had an earlier clock. */
const OVERLAP_MS = 5_000;

/** The `after` of the request that brings what is new since an answer. */
export function newsAfter(timeline: Timeline): string {
  return new Date(Date.parse(timeline.now) - OVERLAP_MS).toISOString();
}

/** Put an answer that has only what is open or ended lately into the whole that was known. */
export function mergeTimeline(known: Timeline, news: Timeline): Timeline {
  if (news.now < known.now) return known; // an answer that was overtaken
  const isNew = new Set(news.rows.map((row) => row.id));
  const kept = known.rows.filter((row) => row.ended_at !== null && !isNew.has(row.id));
  return { ...news, rows: [...kept, ...news.rows].sort(byBegin) };
}

function byBegin(a: TimelineRow, b: TimelineRow): number {
  if ((a.started_at === null) !== (b.started_at === null)) return a.started_at === null ? 1 : -1;
  const [x, y] = [a.started_at ?? a.due_at ?? "", b.started_at ?? b.due_at ?? ""];
  if (x !== y) return x < y ? -1 : 1;
  return a.id < b.id ? -1 : Number(a.id > b.id);
}
