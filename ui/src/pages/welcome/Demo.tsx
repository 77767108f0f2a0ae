import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Play, Square } from "lucide-react";
import type { DemoView } from "~/api/api.gen";
import { type ApiError, api } from "~/api/client";
import { read } from "~/api/query";
import { many } from "~/lists/format";
import { Button } from "~/parts/Button";
import { toast } from "~/parts/toast";
import s from "./welcome.module.css";

export const demoQuery = read("GET /api/demo", {});

/** The demo app of the server: one press, and every page has life; one more, and it is gone. */
export function Demo({ isOn }: { isOn: boolean }) {
  const client = useQueryClient();
  const turn = useMutation<DemoView, ApiError, boolean>({
    mutationFn: (on) => api("POST /api/demo", { body: { on } }),
    onSuccess: (demo) => {
      client.setQueryData(demoQuery.queryKey, demo);
      if (!demo.is_on) toast("The demo app is off", { detail: cancelledWords(demo.cancelled_runs ?? 0) });
    },
    onError: (error, on) =>
      toast(`The demo app didn't ${on ? "start" : "stop"}`, { detail: error.message, isFailure: true }),
  });
  return (
    <section className={s.demo} aria-label="Demo app">
      {isOn ? (
        <>
          <div>
            <h2>The demo app runs</h2>
            <p>When it stops, its runs that haven't ended are cancelled. What it did stays.</p>
          </div>
          <Button isBusy={turn.isPending} onClick={() => turn.mutate(false)}>
            <Square size={13} aria-hidden />
            Stop the demo app
          </Button>
        </>
      ) : (
        <>
          <div>
            <h2>No code at hand?</h2>
            <p>The server has a demo app: events come in, a step fails and is tried again, a run waits.</p>
          </div>
          <Button look="primary" isBusy={turn.isPending} onClick={() => turn.mutate(true)}>
            <Play size={14} aria-hidden />
            Start the demo app
          </Button>
        </>
      )}
    </section>
  );
}

function cancelledWords(count: number): string {
  if (count === 0) return "All of its runs had ended.";
  return `${many(count, "run")} that hadn't ended ${count === 1 ? "is" : "are"} cancelled.`;
}
