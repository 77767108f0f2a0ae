// The events that an address asks for, live, with what becomes of their runs.
import type { EventSummary } from "~/api/api.gen";
import { api, type Query } from "~/api/client";
import { useLive } from "~/api/live";
import { bounds } from "~/lists/range";
import { type Understood, whereOf } from "~/lists/understand";
import { FEED_ROWS_MAX, type Feed, type Source, useFeed } from "~/lists/useFeed";
import type { EventsSearch } from "./search";

const PAGE_ROWS = 50;
const OPEN: ReadonlySet<string> = new Set(["queued", "running"]);

export function useEvents(search: EventsSearch, found: Understood | null): Feed<EventSummary> {
  const feed = useFeed(sourceOf(search, found));
  useLive(["events", "runs"], {
    changes: ({ events = [], runs = [], is_partial }) => {
      if (is_partial) feed.reset();
      if (events.length > 0) {
        feed.grown();
        feed.refetch(events); // of one that is shown already, more has become
      }
      if (runs.length === 0) return;
      const changed = new Set(runs.map((run) => run.id));
      const isOf = (event: EventSummary) =>
        event.runs.some((run) => changed.has(run.id)) || event.gatherings.some((one) => changed.has(one.run_id));
      feed.changed(feed.rows.filter(isOf).map((event) => event.id));
    },
    reset: feed.reset,
  });
  return feed;
}

function sourceOf(search: EventsSearch, found: Understood | null): Source<EventSummary> {
  const name = found?.kind === "event" ? found.name : undefined;
  const query = (): Query<"GET /api/events"> => {
    const { from, until } = bounds(search, Date.now());
    return {
      name,
      where: whereOf(found),
      internal: search.internal,
      received_after: from,
      received_before: until,
    };
  };
  return {
    key: ["events", search],
    page: (cursor, signal) => api("GET /api/events", { query: { ...query(), cursor, limit: PAGE_ROWS }, signal }),
    news: async (rows) => {
      const asked = query();
      const last = rows[0]?.received_at;
      if (last && (!asked.received_after || asked.received_after < last)) asked.received_after = last;
      return (await api("GET /api/events", { query: { ...asked, limit: FEED_ROWS_MAX } })).items;
    },
    byIds: async (ids) => (await api("GET /api/events", { query: { ids: ids.join(",") } })).items,
    isOpen: (event) => event.gatherings.length > 0 || event.runs.some((run) => OPEN.has(run.status)),
  };
}
