import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import type { FunctionDetail, RunView } from "~/api/api.gen";
import { type ApiError, api } from "~/api/client";
import { read } from "~/api/query";
import { Button } from "~/parts/Button";
import { CodeEditor } from "~/parts/code/CodeEditor";
import { EditorFrame } from "~/parts/code/EditorFrame";
import { Dialog } from "~/parts/Dialog";
import { Skeleton } from "~/parts/ErrorState";
import { useKeys } from "~/parts/useKeys";
import { readData } from "../send/payload";
import s from "./function.module.css";

type Props = { fn: FunctionDetail; close: () => void };

/** Starts the function directly, with data like that of the events which usually start it. */
export function InvokeDialog({ fn, close }: Props) {
  const navigate = useNavigate();
  const names = useQuery(read("GET /api/events/names", { query: { limit: 50 } }));
  const [chosen, setChosen] = useState<{ text: string; round: number } | null>(null);
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const shapes = (names.data?.items ?? []).filter((one) => one.example !== null && one.functions.includes(fn.slug));
  const begin = (data: unknown) => {
    const next = JSON.stringify(data ?? {}, null, 2);
    setChosen((now) => ({ text: next, round: (now?.round ?? 0) + 1 }));
    setText(next);
  };
  const isReady = !names.isPending;
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when the shapes are there
  useEffect(() => {
    if (isReady) begin(shapes[0]?.example);
  }, [isReady]);
  const invoke = useMutation<RunView, ApiError, Record<string, unknown>>({
    mutationFn: (data) => api("POST /api/functions/{slug}/invoke", { path: { slug: fn.slug }, body: { data } }),
    onSuccess: (run) => navigate({ to: "/runs/$id", params: { id: run.id } }),
  });
  const submit = (written: string) => {
    const { data, problem: found } = readData(written);
    setProblem(found ?? "");
    if (data && !invoke.isPending) invoke.mutate(data);
  };
  useKeys({ "mod+enter": { does: "Invoke with what is in the editor", act: () => submit(text) } });
  const complaint = problem || invoke.error?.message;
  return (
    <Dialog
      title={`Invoke ${fn.name}`}
      isOpen
      onClose={close}
      isWide
      actions={
        <Button look="primary" hotkey="mod+enter" isBusy={invoke.isPending} onClick={() => submit(text)}>
          Invoke
        </Button>
      }
    >
      <div className={s.invoke}>
        <p className={s.hint}>What the function finds in its event's data; its triggers aren't asked.</p>
        {shapes.length > 0 && (
          <p className={s.shapes}>
            Like the latest{" "}
            {shapes.map((one) => (
              <Button key={one.name} onClick={() => begin(one.example)}>
                <code>{one.name}</code>
              </Button>
            ))}
          </p>
        )}
        <EditorFrame>
          {chosen ? (
            <CodeEditor key={chosen.round} initial={chosen.text} label="Data" onChange={setText} isWrapped />
          ) : (
            <Skeleton lines={5} />
          )}
        </EditorFrame>
        {complaint && (
          <p className={s.problem} role="alert">
            {complaint}
          </p>
        )}
      </div>
    </Dialog>
  );
}
