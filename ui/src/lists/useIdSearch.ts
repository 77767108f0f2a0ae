// An id in the search box opens what has it: a run, or else an event.
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";
import { ApiError, api } from "~/api/client";
import type { Understood } from "./understand";

/** Returns what there is to say when nothing has the id. */
export function useIdSearch(found: Understood | null): string | undefined {
  const navigate = useNavigate();
  const id = found?.kind === "id" ? found.id : undefined;
  const { data, error } = useQuery({
    queryKey: ["what has the id", id],
    queryFn: () => whatHas(id as string),
    enabled: id !== undefined,
    staleTime: 0,
    gcTime: 0,
  });
  useEffect(() => {
    if (!id || !data) return;
    if (data === "run") void navigate({ to: "/runs/$id", params: { id }, replace: true });
    if (data === "event") void navigate({ to: "/events/$id", params: { id }, replace: true });
  }, [id, data, navigate]);
  if (!id) return undefined;
  if (error) return error.message;
  return data === "nothing" ? `No run and no event has the id ${id}: it may be beyond retention.` : undefined;
}

async function whatHas(id: string): Promise<"run" | "event" | "nothing"> {
  const runs = await api("GET /api/runs", { query: { ids: id } });
  if (runs.items.length > 0) return "run";
  try {
    await api("GET /api/events/{id}", { path: { id } });
    return "event";
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return "nothing";
    throw error;
  }
}
