// Who is looking, at which server: asked once, before anything else is shown.
import { queryOptions, useQuery } from "@tanstack/react-query";
import { ApiError, refusal } from "./client";

export interface Session {
  mode: "dev" | "start";
  is_authenticated: boolean;
  needs_setup: boolean;
  /** Why nobody can log in by the way that this page was opened; null where they can. */
  login_refused: string | null;
  version: string;
  environment: string;
  url: string;
  can_demo: boolean;
  can_skip_sleeps: boolean;
}

export const sessionQuery = queryOptions<Session, ApiError>({
  queryKey: ["GET /api/session"],
  queryFn: async () => {
    const response = await fetch("/api/session").catch(() => {
      throw new ApiError(0, "offline", "The server can't be reached.");
    });
    const text = await response.text();
    if (!response.ok) throw refusal(response.status, text);
    return JSON.parse(text);
  },
});

/** The session; undefined until it is known. */
export function useSession(): Session | undefined {
  return useQuery(sessionQuery).data;
}
