import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import type { FunctionDetail, PauseMode } from "~/api/api.gen";
import { type ApiError, api } from "~/api/client";
import { queryClient } from "~/api/query";
import { Confirm } from "~/parts/Dialog";
import { toast } from "~/parts/toast";
import s from "./function.module.css";

type Props = { fn: FunctionDetail; close: () => void };

/** Asks what becomes of runs while the function is paused; or lets it go on. */
export function PauseDialog({ fn, close }: Props) {
  const [mode, setMode] = useState<PauseMode>("hold");
  const [underWay, setUnderWay] = useState<"go_on" | "stop">("go_on");
  const path = { slug: fn.slug };
  const isPaused = fn.pause !== null;
  const act = useMutation<unknown, ApiError>({
    mutationFn: () =>
      isPaused
        ? api("POST /api/functions/{slug}/resume", { path })
        : api("POST /api/functions/{slug}/pause", { path, body: { mode, runs_under_way: underWay } }),
    onSuccess: () => {
      queryClient.invalidateQueries({ queryKey: ["GET /api/functions/{slug}"] });
      queryClient.invalidateQueries({ queryKey: ["GET /api/functions"] });
      toast(isPaused ? `${fn.name} goes on` : `${fn.name} is paused`);
      close();
    },
  });
  return (
    <Confirm
      title={isPaused ? `Resume ${fn.name}?` : `Pause ${fn.name}?`}
      verb={isPaused ? "Resume" : "Pause"}
      isOpen
      isBusy={act.isPending}
      onConfirm={() => act.mutate()}
      onClose={close}
    >
      {isPaused ? (
        <p>Runs that were held start now, and its triggers start runs again.</p>
      ) : (
        <div className={s.choices}>
          <Choice
            legend="Runs that would start"
            value={mode}
            change={setMode}
            options={[
              ["hold", "are held, and start when it is resumed"],
              ["drop", "are skipped for good"],
            ]}
          />
          <Choice
            legend="Runs under way"
            value={underWay}
            change={setUnderWay}
            options={[
              ["go_on", "go on to their ends"],
              ["stop", "stand still until it is resumed"],
            ]}
          />
        </div>
      )}
      {act.error && (
        <p className={s.problem} role="alert">
          {act.error.message}
        </p>
      )}
    </Confirm>
  );
}

type ChoiceProps<T extends string> = {
  legend: string;
  value: T;
  change: (value: T) => void;
  options: [T, string][];
};

function Choice<T extends string>({ legend, value, change, options }: ChoiceProps<T>) {
  return (
    <fieldset className={s.choice}>
      <legend>{legend}</legend>
      {options.map(([id, words]) => (
        <label key={id}>
          <input type="radio" name={legend} checked={id === value} onChange={() => change(id)} />
          {words}
        </label>
      ))}
    </fieldset>
  );
}
