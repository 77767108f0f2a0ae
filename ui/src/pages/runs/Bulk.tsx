// What is done with the selected runs: it is confirmed, shows how far it is, and says what it couldn't do.
import { Link } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import type { RunSummary, RunView } from "~/api/api.gen";
import { api } from "~/api/client";
import { each, type Progress } from "~/lists/each";
import { many } from "~/lists/format";
import { Button } from "~/parts/Button";
import { Dialog } from "~/parts/Dialog";
import { toast } from "~/parts/toast";
import { useKeys } from "~/parts/useKeys";
import s from "./Bulk.module.css";
import { isFinal } from "./useRuns";

const LINKS_MAX = 5;

const ACTIONS = {
  cancel: {
    verb: "Cancel",
    doing: "Cancelling",
    done: "cancelled",
    look: "danger",
    isFor: (run: RunSummary) => !isFinal(run),
    others: (count: number) => (count === 1 ? "has ended, and stays as it is" : "have ended, and stay as they are"),
    words: "Steps that are running now are still finished, and nothing after them begins.",
    act: (id: string) => api("POST /api/runs/{id}/cancel", { path: { id } }),
  },
  rerun: {
    verb: "Rerun",
    doing: "Starting again",
    done: "started again",
    look: "primary",
    isFor: () => true,
    others: () => "",
    words: "Each becomes a new run, with the same event and the function as it is now.",
    act: (id: string) => api("POST /api/runs/{id}/rerun", { path: { id } }),
  },
} as const;

type Action = keyof typeof ACTIONS;
type Props = {
  selected: readonly RunSummary[];
  onClear: () => void;
  isHotkeyOn: boolean;
  onBusy: (is: boolean) => void;
};

export function Bulk({ selected, onClear, isHotkeyOn, onBusy }: Props) {
  const [asked, setAsked] = useState<{ action: Action; runs: readonly RunSummary[] } | null>(null);
  const ask = (action: Action) => {
    setAsked({ action, runs: selected });
    onBusy(true);
  };
  const close = (isDone: boolean) => {
    setAsked(null);
    onBusy(false);
    if (isDone) onClear();
  };
  const isOn = isHotkeyOn && selected.length > 0;
  useKeys(
    {
      c: { does: "Cancel what is selected", act: () => ask("cancel") },
      r: { does: "Rerun what is selected", act: () => ask("rerun") },
      escape: { does: "Select nothing", act: onClear },
    },
    isOn,
  );
  return (
    <>
      {selected.length > 0 && (
        <div className={s.bar} role="toolbar" aria-label="Selected runs">
          <span className={s.count} role="status">
            {many(selected.length, "run")} selected
          </span>
          <Button hotkey="c" look="danger" onClick={() => ask("cancel")}>
            Cancel
          </Button>
          <Button hotkey="r" onClick={() => ask("rerun")}>
            Rerun
          </Button>
          <Button hotkey="escape" look="ghost" onClick={onClear}>
            Clear
          </Button>
        </div>
      )}
      {asked && <Confirm action={asked.action} runs={asked.runs} onClose={close} />}
    </>
  );
}

type ConfirmProps = { action: Action; runs: readonly RunSummary[]; onClose: (isDone: boolean) => void };

function Confirm({ action, runs, onClose }: ConfirmProps) {
  const { verb, doing, done, look, isFor, others, words, act } = ACTIONS[action];
  const [these] = useState(() => runs.filter(isFor));
  const [progress, setProgress] = useState<Progress<RunView> | null>(null);
  const [isOver, setOver] = useState(false);
  const stop = useRef<AbortController>(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const start = async () => {
    stop.current = new AbortController();
    setProgress({ done: 0, results: [], failures: [] });
    const ids = these.map((run) => run.id);
    let reached: Progress<RunView> | undefined;
    const note = (progress: Progress<RunView>) => {
      reached = progress;
      setProgress(progress);
    };
    await each(ids, act, note, stop.current.signal);
    // What there is nothing more to say of closes by itself.
    if (action === "cancel" && reached?.done === ids.length && reached.failures.length === 0) {
      toast(`${many(ids.length, "run")} ${done}`);
      onClose(true);
    } else {
      setOver(true);
    }
  };
  const left = runs.length - these.length;
  const close = () => (progress && !isOver ? stop.current.abort() : onClose(progress !== null));
  const title = !progress
    ? these.length
      ? `${verb} ${many(these.length, "run")}?`
      : `Nothing to ${verb.toLowerCase()}`
    : isOver
      ? `${many(progress.results.length, "run")} ${done}`
      : `${doing}: ${progress.done} of ${these.length}`;
  return (
    <Dialog
      title={title}
      isOpen
      onClose={close}
      actions={
        <>
          {!progress && <Button onClick={close}>{these.length ? "Back" : "Close"}</Button>}
          {!progress && these.length > 0 && (
            <Button look={look} onClick={start} autoFocus>
              {verb} {many(these.length, "run")}
            </Button>
          )}
          {progress && !isOver && <Button onClick={close}>Stop</Button>}
          {isOver && (
            <Button look="primary" onClick={close} autoFocus>
              Done
            </Button>
          )}
        </>
      }
    >
      <div className={s.words}>
        {!progress && these.length > 0 && <p>{words}</p>}
        {!progress && left > 0 && (
          <p>
            {left} of the selected {others(left)}.
          </p>
        )}
        {progress && <progress className={s.progress} value={progress.done} max={these.length} aria-label={doing} />}
        {isOver && action === "rerun" && progress && <Started runs={progress.results} />}
        {progress && progress.failures.length > 0 && (
          <div className={s.failures} role="alert">
            <strong>
              {many(progress.failures.length, "run")} could not be {done}:
            </strong>
            <ul>
              {progress.failures.map(({ id, message }) => (
                <li key={id}>
                  <code>{id}</code> {message}
                </li>
              ))}
            </ul>
          </div>
        )}
      </div>
    </Dialog>
  );
}

function Started({ runs }: { runs: readonly RunView[] }) {
  return (
    <ul className={s.started}>
      {runs.slice(0, LINKS_MAX).map((run) => (
        <li key={run.id}>
          <Link to="/runs/$id" params={{ id: run.id }}>
            {run.function} <code>{run.id}</code>
          </Link>
        </li>
      ))}
      {runs.length > LINKS_MAX && <li>and {runs.length - LINKS_MAX} more</li>}
    </ul>
  );
}
