import { useQuery } from "@tanstack/react-query";
import { read } from "~/api/query";

/** A run's configuration as its app registered it; undefined until it is known. */
export function useConfig(id: string): unknown {
  return useQuery(read("GET /api/runs/{id}/config", { path: { id } })).data?.config;
}
