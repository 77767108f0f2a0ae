import { useMutation, useQuery } from "@tanstack/react-query";
import { Send } from "lucide-react";
import { useEffect, useMemo, useState } from "react";
import type { NewEvent, TakenEvents } from "~/api/api.gen";
import { type ApiError, api } from "~/api/client";
import { queryClient, read } from "~/api/query";
import { useSession } from "~/api/session";
import { Button } from "~/parts/Button";
import { CopyButton } from "~/parts/CopyButton";
import { CodeEditor } from "~/parts/code/CodeEditor";
import { EditorFrame } from "~/parts/code/EditorFrame";
import { Tabs } from "~/parts/Tabs";
import { useKeys } from "~/parts/useKeys";
import { codeOf, LANGUAGE_NAMES } from "./code";
import { EventNames } from "./EventNames";
import { type EventToSend, readPayload } from "./payload";
import { Result } from "./Result";
import { LANGUAGES, type Language } from "./search";
import s from "./send.module.css";

export const namesQuery = read("GET /api/events/names", { query: { limit: 50 } });
const FIRST: EventToSend = { name: "user.signedup", data: { userId: 42 } };

type Props = {
  /** Begin with this event. */
  event?: string | undefined;
  /** Begin with the latest event of this name. */
  name?: string | undefined;
  language: Language;
  changeLanguage: (language: Language) => void;
  /** Something was followed to another page. */
  onLeave?: () => void;
};

/** Write events, with those that came lately at hand, send them, and see what they start. */
export function SendForm({ event, name, language, changeLanguage, onLeave }: Props) {
  const names = useQuery(namesQuery);
  const sent = useQuery({
    ...read("GET /api/events/{id}", { path: { id: event ?? "" } }),
    enabled: event !== undefined,
  });
  const server = useSession();
  const [chosen, setChosen] = useState<{ text: string; round: number } | null>(null);
  const [text, setText] = useState("");
  const payload = useMemo(() => readPayload(text), [text]);
  const [shown, setShown] = useState<EventToSend[]>([FIRST]);
  const [problem, setProblem] = useState("");
  const send = useMutation<TakenEvents, ApiError, EventToSend[]>({
    mutationFn: (events) => api("POST /api/events", { body: (events.length === 1 ? events[0] : events) as NewEvent }),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: namesQuery.queryKey }),
  });

  const begin = (event: EventToSend) => {
    const next = JSON.stringify(event, null, 2);
    setChosen((now) => ({ text: next, round: (now?.round ?? 0) + 1 }));
    setText(next);
    setProblem("");
  };
  const isReady = !names.isPending && (event === undefined || !sent.isPending);
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when what it begins with is there
  useEffect(() => {
    if (!isReady || chosen) return;
    if (sent.data) return begin({ name: sent.data.name, data: sent.data.data as EventToSend["data"] });
    const items = names.data?.items ?? [];
    const found = name === undefined ? items[0] : items.find((one) => one.name === name);
    begin(found ? eventOf(found) : name === undefined ? FIRST : { name, data: {} });
  }, [isReady]);
  // The code tabs keep the last events that could be read.
  useEffect(() => {
    if (payload.events) setShown(payload.events);
  }, [payload]);

  const submit = (written: string) => {
    const { events, problem: found } = readPayload(written);
    setProblem(found ?? "");
    if (events && !send.isPending) send.mutate(events);
  };
  useKeys({ "mod+enter": { does: "Send what is in the editor", act: () => submit(text) } });
  const change = (next: string) => {
    setText(next);
    if (problem) setProblem(readPayload(next).problem ?? "");
  };
  const count = payload.events?.length ?? 1;
  const complaint = problem || (send.error ? refusalWords(send.error) : "");
  return (
    <div className={s.form}>
      <EventNames query={names} choose={(one) => begin(eventOf(one))} />
      <div className={s.write}>
        <EditorFrame>
          {chosen && <CodeEditor key={chosen.round} initial={chosen.text} label="Event" onChange={change} isWrapped />}
        </EditorFrame>
        <div className={s.bar}>
          <p className={s.hint}>One event, or a list of several: [{"{…}, {…}"}]</p>
          <Button look="primary" hotkey="mod+enter" isBusy={send.isPending} onClick={() => submit(text)}>
            <Send size={14} aria-hidden />
            {count === 1 ? "Send" : `Send ${count} events`}
          </Button>
        </div>
        {complaint && (
          <p className={s.problem} role="alert">
            {complaint}
          </p>
        )}
        {send.data && !complaint && <Result taken={send.data} {...(onLeave && { onLeave })} />}
        <Tabs
          label="The same as code"
          active={language}
          onChange={(id) => changeLanguage(id as Language)}
          tabs={LANGUAGES.map((id) => ({
            id,
            name: LANGUAGE_NAMES[id],
            content: (
              <Code text={codeOf(id, shown, { url: server?.url ?? location.origin, isDev: server?.mode === "dev" })} />
            ),
          }))}
        />
      </div>
    </div>
  );
}

function Code({ text }: { text: string }) {
  return (
    <div className={s.code}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: one scrolls it by keys */}
      <pre tabIndex={0}>{text}</pre>
      <CopyButton text={() => text} />
    </div>
  );
}

function eventOf({ name, example }: { name: string; example: unknown }): EventToSend {
  return { name, data: (example as EventToSend["data"]) ?? {} };
}

function refusalWords({ message, path }: ApiError): string {
  return path ? `${path}: ${message}` : message;
}
