// Names for which no function has a trigger, with the triggers most like them.
import { useQueries } from "@tanstack/react-query";
import { useMemo } from "react";
import type { EventSummary, FunctionView } from "~/api/api.gen";
import { api } from "~/api/client";
import { triggerNames } from "~/lists/triggers";

/** Names that are asked about at a time: the first of the list. */
const NAMES_MAX = 20;

/** No trigger has the name, and it is no slip of the pen: runs wait for it. */
export const AWAITED = "awaited";
/** The names of triggers like one. */
export type Near = readonly string[] | typeof AWAITED;

/** Of each name that starts nothing: the names of triggers like it. Names that some trigger has are left out. */
export function useNearNames(
  events: readonly EventSummary[],
  functions: readonly FunctionView[] | undefined,
): ReadonlyMap<string, Near> {
  const known = useMemo(() => triggerNames(functions), [functions]);
  const examples = useMemo(() => {
    const ids = new Map<string, string>();
    for (const { name, id, runs, is_internal } of events) {
      if (ids.size === NAMES_MAX) break;
      if (functions && !is_internal && runs.length === 0 && !known.has(name) && !ids.has(name)) ids.set(name, id);
    }
    return ids;
  }, [events, functions, known]);
  const triggers = [...known].sort().join();
  return useQueries({
    queries: [...examples].map(([name, id]) => ({
      queryKey: ["near names", name, triggers],
      queryFn: () => api("GET /api/events/{id}/explain", { path: { id } }),
    })),
    combine: (answers) => {
      const near = new Map<string, Near>();
      for (const { data } of answers) {
        if (data && data.functions.length === 0) near.set(data.name, data.is_awaited ? AWAITED : data.near);
      }
      return near;
    },
  });
}
