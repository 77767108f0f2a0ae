// Timelines for tests: rows with what a test says of them, and the rest as the server leaves it.
import type { Timeline, TimelineRow } from "~/api/api.gen";

export const T0 = Date.parse("2026-01-01T00:00:00.000Z");

export function at(ms: number): string {
  return new Date(T0 + ms).toISOString();
}

type RowOf = Partial<TimelineRow> & { id: string };

export function rowOf(given: RowOf): TimelineRow {
  return {
    kind: "attempt",
    status: "completed",
    op: given.step_id ? "step.run" : null,
    step_id: null,
    title: given.step_id ?? null,
    attempt: 0,
    started_at: null,
    ended_at: null,
    due_at: null,
    retry_at: null,
    output: null,
    output_bytes: null,
    error: null,
    error_line: null,
    waiting: null,
    links: null,
    ...given,
  } as TimelineRow;
}

/** A run that was queued at 0; `end` null: it goes on. */
export function timelineOf(rows: RowOf[], { now = 1_000, end = null as number | null } = {}): Timeline {
  const run = { id: "01RUN", queued_at: at(0), started_at: at(0), ended_at: end === null ? null : at(end) };
  return { now: at(now), run, rows: rows.map(rowOf) } as unknown as Timeline;
}
