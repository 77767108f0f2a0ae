import { useEffect, useRef } from "react";
import type { Model } from "./layout";

/** The selected row. A call that is made becomes an attempt with another id: the selection goes on with its step. */
export function useSelection(model: Model, id: string | undefined, select: (id: string | undefined) => void) {
  const last = useRef<{ id: string; group: string } | null>(null);
  const found = id === undefined ? undefined : model.byId.get(id);
  useEffect(() => {
    if (id === undefined) return;
    if (found) {
      last.current = { id, group: found.group.id };
      return;
    }
    const step = last.current?.id === id ? last.current.group : id; // links from elsewhere may name a step
    const next = model.groups.find((it) => it.id === step)?.items.at(-1)?.id;
    if (next !== undefined) select(next);
  }, [id, found, model, select]);
  return found && id !== undefined ? { ...found, id } : undefined;
}
