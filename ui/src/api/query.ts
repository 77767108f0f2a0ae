// TanStack Query, set up once: nothing polls, nothing refetches on focus; news comes by the live stream.
import { QueryCache, QueryClient, queryOptions } from "@tanstack/react-query";
import { type Answer, ApiError, api, type Endpoint, type Parts } from "./client";

let toLogin: () => void = () => {};

/** Say what happens when the server doesn't know who asks. */
export function onUnauthorised(go: () => void) {
  toLogin = go;
}

export const queryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (error) => {
      if (error instanceof ApiError && error.kind === "unauthorised") toLogin();
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: Number.POSITIVE_INFINITY,
      gcTime: 5 * 60_000,
      refetchOnWindowFocus: false,
      networkMode: "always", // a server on this machine is reachable without a network
      retry: (count, error) => error instanceof ApiError && error.kind === "offline" && count < 2,
    },
    mutations: { networkMode: "always" },
  },
});

/** The query of an endpoint: `useQuery(read("GET /api/runs/{id}", { path: { id } }))`. Its key starts with the endpoint. */
export function read<E extends Endpoint & `GET ${string}`>(endpoint: E, parts: Omit<Parts<E>, "body" | "signal">) {
  return queryOptions<Answer<E>, ApiError>({
    queryKey: [endpoint, parts],
    queryFn: ({ signal }) => (api as (e: E, p: unknown) => Promise<Answer<E>>)(endpoint, { ...parts, signal }),
  });
}
