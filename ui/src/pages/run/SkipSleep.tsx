import { useMutation } from "@tanstack/react-query";
import { type ApiError, api } from "~/api/client";
import { useSession } from "~/api/session";
import { Button } from "~/parts/Button";
import { toast } from "~/parts/toast";
import { useKeys } from "~/parts/useKeys";
import type { Item } from "./layout";

/** Lets one sleep end now; only of a server for development, and only while it sleeps. */
export function SkipSleep({ runId, item, onDone }: { runId: string; item: Item; onDone: () => void }) {
  const session = useSession();
  const canSkip = session?.can_skip_sleeps === true && item.status === "sleeping";
  const skip = useMutation<unknown, ApiError>({
    mutationFn: () => api("POST /api/runs/{id}/jobs/{job_id}/skip", { path: { id: runId, job_id: item.id } }),
    onSuccess: () => toast("The sleep is over"),
    onError: (error) => toast("Not skipped", { detail: error.message, isFailure: true }),
    onSettled: onDone,
  });
  useKeys({ k: { does: "End this sleep now", act: () => skip.mutate() } }, canSkip && !skip.isPending);
  if (!canSkip) return null;
  return (
    <Button hotkey="k" onClick={() => skip.mutate()} isBusy={skip.isPending}>
      Skip this sleep
    </Button>
  );
}
