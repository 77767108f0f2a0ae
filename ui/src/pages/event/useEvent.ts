// An event and what became of it, live.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { useLive } from "~/api/live";
import { read } from "~/api/query";
import { Pacer } from "~/lists/pacer";

const GAP_MS = 300;

export function useEvent(id: string) {
  const client = useQueryClient();
  const event = useQuery(read("GET /api/events/{id}", { path: { id } }));
  const outcomes = read("GET /api/events/{id}/explain", { path: { id } });
  const explained = useQuery(outcomes);
  const pacer = useRef<Pacer | null>(null);
  useEffect(() => {
    const made = new Pacer(async () => {
      const { queryKey } = read("GET /api/events/{id}/explain", { path: { id } });
      await client.invalidateQueries({ queryKey });
      await client.invalidateQueries({ queryKey: read("GET /api/events/{id}", { path: { id } }).queryKey });
    }, GAP_MS);
    pacer.current = made;
    return () => made.stop();
  }, [client, id]);
  const ask = () => pacer.current?.ask();
  useLive(["runs", "functions"], {
    changes: ({ runs = [], functions, is_partial }) => {
      const own = new Set(explained.data?.functions.map((one) => one.run_id));
      const isOpen = explained.data?.functions.some((one) => one.kind === "gathered" && !one.run_id);
      if (is_partial || functions || runs.some((run) => own.has(run.id) || (isOpen && run.is_new))) ask();
    },
    reset: ask,
  });
  return { event, explained };
}
