import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback } from "react";
import { type ApiError, api } from "~/api/client";
import type { LogLine } from "~/api/live";
import { addLines } from "./lines";

const PAGE_ROWS = 500;

export interface RunLog {
  lines: LogLine[];
  /** How many lines were too many to keep. */
  dropped: number;
}

function logQuery(id: string) {
  return {
    queryKey: ["run", id, "logs"],
    queryFn: async ({ signal }: { signal: AbortSignal }) => fetchLines(id, [], signal),
  };
}

/** All lines of a run from those known on: what replays wrote, too. There are at most as many as the server keeps of one. */
async function fetchLines(id: string, known: LogLine[], signal?: AbortSignal): Promise<RunLog> {
  let lines = known;
  let after = known.at(-1)?.id;
  for (;;) {
    const page = await api("GET /api/logs", {
      query: { run_id: id, replayed: true, after, limit: PAGE_ROWS },
      signal,
    });
    lines = addLines(lines, page.items);
    if (!page.next_cursor || page.items.length === 0) return { lines, dropped: page.dropped };
    after = page.next_cursor;
  }
}

/** The lines that a run wrote, and what takes the new ones. */
export function useLogs(id: string) {
  const client = useQueryClient();
  const log = useQuery<RunLog, ApiError>(logQuery(id));
  const { queryKey } = logQuery(id);
  const add = useCallback(
    (lines: LogLine[]) =>
      client.setQueryData<RunLog>(["run", id, "logs"], (known) =>
        known ? { ...known, lines: addLines(known.lines, lines) } : known,
      ),
    [client, id],
  );
  const catchUp = useCallback(async () => {
    const known = client.getQueryData<RunLog>(["run", id, "logs"]);
    if (!known) return;
    const all = await fetchLines(id, known.lines).catch(() => null); // the stream asks again when the server is back
    if (all) client.setQueryData<RunLog>(["run", id, "logs"], all);
  }, [client, id]);
  return { log, add, catchUp, queryKey };
}
