import { useMutation } from "@tanstack/react-query";
import { Play } from "lucide-react";
import { type ApiError, api } from "~/api/client";
import { Button } from "~/parts/Button";
import { toast } from "~/parts/toast";
import s from "./welcome.module.css";

/** The demo app of the server: one press, and every page has life. */
export function Demo() {
  const start = useMutation({
    mutationFn: () => api("POST /api/demo", { body: { on: true } }),
    onError: (error: ApiError) => toast("The demo app didn't start", { detail: error.message, isFailure: true }),
  });
  return (
    <section className={s.demo} aria-label="Demo app">
      <div>
        <h2>No code at hand?</h2>
        <p>The server has a demo app: events come in, a step fails and is tried again, a run waits.</p>
      </div>
      <Button look="primary" isBusy={start.isPending} onClick={() => start.mutate()}>
        <Play size={14} aria-hidden />
        Start the demo app
      </Button>
    </section>
  );
}
