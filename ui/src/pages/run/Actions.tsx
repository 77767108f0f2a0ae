import { Menu } from "@base-ui/react/menu";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { ChevronDown } from "lucide-react";
import { useState } from "react";
import type { RunPageView, TimelineRow } from "~/api/api.gen";
import { type ApiError, api } from "~/api/client";
import { read } from "~/api/query";
import { useSession } from "~/api/session";
import { Button } from "~/parts/Button";
import { copy } from "~/parts/CopyButton";
import { Confirm } from "~/parts/Dialog";
import { toast } from "~/parts/toast";
import { useKeys } from "~/parts/useKeys";
import s from "./Actions.module.css";
import { asCurl, asMarkdown, asPytest } from "./copies";
import type { RunLog } from "./useLogs";
import { explainQuery } from "./useTimeline";

/** Of how many failed attempts the tracebacks go into the Markdown. */
const ERRORS_MAX = 8;

type Props = { run: RunPageView; rows: TimelineRow[]; hasChanged: () => void };

/** What one can do with a run. */
export function Actions({ run, rows, hasChanged }: Props) {
  const navigate = useNavigate();
  const session = useSession();
  const [asks, setAsks] = useState(false);
  const [asksAgain, setAsksAgain] = useState(false);
  const cancel = useMutation<unknown, ApiError>({
    mutationFn: () => api("POST /api/runs/{id}/cancel", { path: { id: run.id } }),
    onSuccess: () => toast("Run cancelled"),
    onError: (error) => toast("Not cancelled", { detail: error.message, isFailure: true }),
    onSettled: () => {
      setAsks(false);
      hasChanged();
    },
  });
  const rerun = useMutation<{ id: string }, ApiError>({
    mutationFn: () => api("POST /api/runs/{id}/rerun", { path: { id: run.id } }),
    onSuccess: ({ id }) => {
      toast("Runs again: this is the new run");
      void navigate({ to: "/runs/$id", params: { id } });
    },
    onError: (error) => toast("Not run again", { detail: error.message, isFailure: true }),
    onSettled: () => setAsksAgain(false),
  });
  // One key away from charging somebody twice: only where nothing is at stake it is done at once.
  const again = () => (session?.mode === "dev" ? !rerun.isPending && rerun.mutate() : setAsksAgain(true));
  const canCancel = run.ended_at === null;
  const [isMenuOpen, setMenuOpen] = useState(false);
  useKeys(
    {
      ...(canCancel && { c: { does: "Cancel", act: () => setAsks(true) } }),
      r: { does: "Rerun", act: again },
    },
    !asks && !asksAgain && !isMenuOpen,
  );
  return (
    <>
      {canCancel && (
        <Button look="danger" hotkey="c" onClick={() => setAsks(true)} isBusy={cancel.isPending}>
          Cancel
        </Button>
      )}
      <Button hotkey="r" onClick={again} isBusy={rerun.isPending}>
        Rerun
      </Button>
      <CopyAs run={run} rows={rows} isOpen={isMenuOpen} onOpen={setMenuOpen} />
      <Confirm
        isOpen={asks}
        title="Cancel this run?"
        verb="Cancel run"
        isDangerous
        onConfirm={() => cancel.mutate()}
        onClose={() => setAsks(false)}
        isBusy={cancel.isPending}
      >
        What its steps have done stays done. A call under way may finish, but nothing comes of it. This can’t be taken
        back.
      </Confirm>
      <Confirm
        isOpen={asksAgain}
        title="Run it again?"
        verb="Rerun"
        onConfirm={() => rerun.mutate()}
        onClose={() => setAsksAgain(false)}
        isBusy={rerun.isPending}
      >
        A new run begins, with the same event and the function as it is now. Its steps do again what they did.
      </Confirm>
    </>
  );
}

type CopyProps = { run: RunPageView; rows: TimelineRow[]; isOpen: boolean; onOpen: (isOpen: boolean) => void };

function CopyAs({ run, rows, isOpen, onOpen }: CopyProps) {
  const client = useQueryClient();
  const session = useSession();
  const server = location.origin;
  const event = () => client.fetchQuery(read("GET /api/events/{id}", { path: { id: run.event_id } }));
  const markdown = async () => {
    const failed = rows.filter((row) => row.error_line !== null).slice(-ERRORS_MAX);
    const errors = new Map<string, unknown>();
    const config = await client
      .fetchQuery(read("GET /api/runs/{id}/config", { path: { id: run.id } }))
      .catch(() => null);
    const given = await client
      .fetchQuery(read("GET /api/runs/{id}/output", { path: { id: run.id } }))
      .catch(() => null);
    for (const row of failed) {
      const path = { id: run.id, row: row.id };
      const data = await client.fetchQuery(read("GET /api/runs/{id}/rows/{row}", { path })).catch(() => null);
      if (data) errors.set(row.id, data.error);
    }
    return asMarkdown({
      run,
      event: await event(),
      output: given?.output,
      rows,
      why: client.getQueryData(explainQuery(run.id).queryKey),
      logs: client.getQueryData<RunLog>(["run", run.id, "logs"])?.lines.filter((line) => !line.is_replayed) ?? [],
      config: config?.config,
      errors,
    });
  };
  return (
    <Menu.Root open={isOpen} onOpenChange={onOpen}>
      <Menu.Trigger render={<Button />}>
        Copy as <ChevronDown size={14} aria-hidden />
      </Menu.Trigger>
      <Menu.Portal>
        <Menu.Positioner sideOffset={6} align="end" className={s.place}>
          <Menu.Popup className={s.menu}>
            <Choice
              title="curl"
              words="Sends the event again"
              onPick={() =>
                copyAs(async () => asCurl(await event(), server, session?.mode === "start"), "curl command")
              }
            />
            <Choice
              title="pytest"
              words="A test that sends the event, and waits for the run"
              onPick={() => copyAs(async () => asPytest(run, await event(), server), "Test")}
            />
            <Choice
              title="Markdown"
              words="All about the run, for a coding agent"
              onPick={() => copyAs(markdown, "Markdown")}
            />
          </Menu.Popup>
        </Menu.Positioner>
      </Menu.Portal>
    </Menu.Root>
  );
}

function Choice({ title, words, onPick }: { title: string; words: string; onPick: () => void }) {
  return (
    <Menu.Item className={s.item} onClick={onPick}>
      <strong>{title}</strong>
      <span>{words}</span>
    </Menu.Item>
  );
}

async function copyAs(make: () => Promise<string>, what: string) {
  try {
    if (await copy(await make())) toast(`${what} copied`);
  } catch (error) {
    toast("Not copied", { detail: error instanceof Error ? error.message : String(error), isFailure: true });
  }
}
