import { Link } from "@tanstack/react-router";
import type { ApiError } from "~/api/client";
import { ErrorState } from "~/parts/ErrorState";
import { idTime } from "./words";

/** A run that can't be shown: unknown, gone by retention, or not to be had just now. */
export function Missing({ id, error, retry }: { id: string; error: ApiError; retry: () => void }) {
  const isGone = error.kind === "not_found" || error.kind === "beyond_retention";
  return (
    <ErrorState error={error} retry={isGone ? undefined : retry}>
      {error.kind === "not_found" && idTime(id) === null && (
        <p>A run’s id has 26 letters and digits. Is this one cut off?</p>
      )}
      <p>
        <Link to="/runs">To the runs</Link>
      </p>
    </ErrorState>
  );
}
