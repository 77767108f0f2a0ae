// The runs that an address asks for, live.
import type { RunSummary } from "~/api/api.gen";
import { api, type Query } from "~/api/client";
import { useLive } from "~/api/live";
import { bounds } from "~/lists/range";
import { type Understood, whereOf } from "~/lists/understand";
import { FEED_ROWS_MAX, type Feed, type Source, useFeed } from "~/lists/useFeed";
import { type RunsSearch, statusesOf } from "./search";

const PAGE_ROWS = 50;
const FINAL: ReadonlySet<string> = new Set(["completed", "failed", "cancelled", "skipped"]);

export function isFinal(run: { status: string }): boolean {
  return FINAL.has(run.status);
}

/** `onChange` is told of everything that happens to runs, for what is counted beside the list. */
export function useRuns(search: RunsSearch, found: Understood | null, onChange: () => void): Feed<RunSummary> {
  const feed = useFeed(sourceOf(search, found));
  const hasStatus = statusesOf(search).length > 0;
  useLive(["runs"], {
    changes: ({ runs = [], is_partial }) => {
      if (is_partial) feed.reset();
      feed.changed(runs.map((run) => run.id));
      // A run that was there before may come to match when its status changes, or its output is there.
      if (runs.some((run) => run.is_new || hasStatus || found)) feed.grown();
      if (is_partial || runs.length > 0) onChange();
    },
    reset: () => {
      feed.reset();
      onChange();
    },
  });
  return feed;
}

function sourceOf(search: RunsSearch, found: Understood | null): Source<RunSummary> {
  const { app, function: slug, status } = search;
  const where = whereOf(found);
  const eventName = found?.kind === "event" ? found.name : undefined;
  const query = (): Query<"GET /api/runs"> => {
    const { from, until } = bounds(search, Date.now());
    return { app, function: slug, status, where, event_name: eventName, queued_after: from, queued_before: until };
  };
  return {
    key: ["runs", search],
    page: (cursor, signal) => api("GET /api/runs", { query: { ...query(), cursor, limit: PAGE_ROWS }, signal }),
    news: async (rows) => {
      const asked = query();
      const last = status || where ? rows.at(Math.min(rows.length, FEED_ROWS_MAX) - 1) : rows[0];
      if (last && (!asked.queued_after || asked.queued_after < last.queued_at)) asked.queued_after = last.queued_at;
      return (await api("GET /api/runs", { query: { ...asked, limit: FEED_ROWS_MAX } })).items;
    },
    byIds: async (ids) => (await api("GET /api/runs", { query: { ids: ids.join(","), limit: FEED_ROWS_MAX } })).items,
    isOpen: (run) => !isFinal(run),
  };
}
