import { useQuery } from "@tanstack/react-query";
import type { SpanView } from "~/api/api.gen";
import { read } from "~/api/query";

const NONE: SpanView[] = [];

export function spansQuery(id: string) {
  return read("GET /api/runs/{id}/spans", { path: { id } });
}

/** What the app measured of a run with OpenTelemetry; fetched anew with the run's other news. */
export function useSpans(id: string): SpanView[] {
  return useQuery(spansQuery(id)).data?.items ?? NONE;
}
