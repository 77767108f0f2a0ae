// How many runs ended when and how, counted again when something happened: seldom, where counting is dear.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import type { RunsStats } from "~/api/api.gen";
import { type ApiError, api } from "~/api/client";
import { useSession } from "~/api/session";
import { Pacer } from "~/lists/pacer";
import { chartBounds, rangeName } from "~/lists/range";
import type { RunsSearch } from "./search";

export const BUCKETS = 60;
const GAP_MS = 3_000;

export function useRunsStats(search: RunsSearch) {
  const { app, function: slug, from, until } = search;
  const session = useSession();
  // While somebody develops, all that matters has just happened.
  const range = search.range ?? (session?.mode === "dev" ? "1h" : "24h");
  const [now, setNow] = useState(Date.now);
  const ends = chartBounds({ range, from, until }, now, BUCKETS);
  const query = useQuery<RunsStats, ApiError>({
    queryKey: ["runs stats", ends, app, slug],
    queryFn: ({ signal }) =>
      api("GET /api/runs/stats", { query: { ...ends, buckets: BUCKETS, function: slug, app }, signal }),
    placeholderData: keepPreviousData,
    enabled: session !== undefined,
  });
  const refetch = useRef(query.refetch);
  refetch.current = query.refetch;
  const pacer = useRef<Pacer | null>(null);
  useEffect(() => {
    const made = new Pacer(async () => {
      setNow(Date.now());
      await refetch.current({ cancelRefetch: false });
    }, GAP_MS);
    pacer.current = made;
    return () => made.stop();
  }, []);
  const span = rangeName(from || until ? { from, until } : { range });
  return { span, stats: query.data, error: query.error, recount: useCallback(() => pacer.current?.ask(), []) };
}
