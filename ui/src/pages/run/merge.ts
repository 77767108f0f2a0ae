// A run's rows as they change: what ended stays as it is, what was open comes anew with each answer.
import type { Timeline, TimelineRow } from "~/api/api.gen";

/** How far before an answer's moment the next one begins: what was committed just then may have had an earlier clock. */
const OVERLAP_MS = 5_000;

/** The `after` of the request that brings what is new since an answer. */
export function newsAfter(timeline: Timeline): string {
  return new Date(Date.parse(timeline.now) - OVERLAP_MS).toISOString();
}

/** A timeline with where its rows stand: what ended may turn out to have begun some ms later, and stays in its place. */
type Placed = Timeline & { places?: ReadonlyMap<string, string> };

/** Put an answer that has only what is open or ended lately into the whole that was known. */
export function mergeTimeline(known: Placed, news: Timeline): Placed {
  if (news.now < known.now) return known; // an answer that was overtaken
  const isNew = new Set(news.rows.map((row) => row.id));
  const kept = known.rows.filter((row) => row.ended_at !== null && !isNew.has(row.id));
  const places = new Map(known.places);
  for (const row of known.places ? news.rows : [...known.rows, ...news.rows]) {
    if (row.started_at !== null && !places.has(keyOf(row))) places.set(keyOf(row), row.started_at);
  }
  const rows = [...kept, ...news.rows]
    .map((row) => ({ row, at: places.get(keyOf(row)) ?? null }))
    .sort(byBegin)
    .map(({ row }) => row);
  return { ...news, rows, places };
}

/** A call that failed at a step becomes that step's attempt, which has another place. */
function keyOf(row: TimelineRow): string {
  return `${row.id} ${row.step_id}`;
}

function byBegin(a: { row: TimelineRow; at: string | null }, b: { row: TimelineRow; at: string | null }): number {
  if ((a.at === null) !== (b.at === null)) return a.at === null ? 1 : -1;
  const [x, y] = [a.at ?? a.row.due_at ?? "", b.at ?? b.row.due_at ?? ""];
  if (x !== y) return x < y ? -1 : 1;
  return a.row.id < b.row.id ? -1 : Number(a.row.id > b.row.id);
}
