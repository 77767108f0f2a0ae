// News from the server: one stream of server-sent events for the page that is shown, resumed by cursor.
import { useEffect, useRef, useSyncExternalStore } from "react";
import { parseAnswer } from "./json";

export interface LogLine {
  id: string;
  at: string;
  run_id: string;
  function: string | null;
  step_id: string | null;
  step: string | null;
  attempt_id: string | null;
  attempt: number | null;
  level: string;
  logger: string | null;
  message: string;
  fields: unknown;
  is_replayed: boolean;
}

/** What one message says has changed; what a page didn't subscribe to is absent or empty. */
export interface Changes {
  runs?: { id: string; is_new: boolean }[];
  events?: string[];
  functions?: boolean;
  logs?: LogLine[];
  /** More has changed than is listed: fetch the lists again. */
  is_partial?: boolean;
}

export interface Handlers {
  /** Something has changed. At most one call every 100 ms. */
  changes: (changes: Changes) => void;
  /** News may have been lost: fetch everything again. */
  reset: () => void;
}

export type LiveState = "off" | "connecting" | "live" | "offline";

/** Waits between attempts to connect; the browser itself retries only what broke after it had worked. */
const RETRY_MS = [500, 1_000, 2_000, 5_000, 10_000];

let state: LiveState = "off";
const listeners = new Set<() => void>();

function setState(next: LiveState) {
  if (next === state) return;
  state = next;
  for (const listener of listeners) listener();
}

/** Whether news come in, for the dot and the offline banner. */
export function useLiveState(): LiveState {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => state,
  );
}

/** Subscribe to topics (`runs`, `run:<id>`, `events`, `logs`, `logs:<run id>`, `functions`) while the component is shown. */
export function useLive(topics: string[], handlers: Handlers, isOn = true) {
  const latest = useRef(handlers);
  useEffect(() => {
    latest.current = handlers;
  });
  const key = topics.join(",");
  useEffect(() => {
    if (!isOn) return;
    return connect(key, {
      changes: (changes) => latest.current.changes(changes),
      reset: () => latest.current.reset(),
    });
  }, [key, isOn]);
}

/** Open the stream of these topics; returns what closes it. */
export function connect(topics: string, handlers: Handlers): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let cursor = "";
  let failures = 0;

  const open = () => {
    const query = new URLSearchParams({ topics, ...(cursor && { cursor }) });
    source = new EventSource(`/api/stream?${query}`);
    source.addEventListener("hello", (message) => {
      failures = 0;
      cursor ||= JSON.parse(message.data).cursor;
      setState("live");
    });
    source.addEventListener("changes", (message) => {
      cursor = message.lastEventId || cursor;
      handlers.changes(parseAnswer(message.data) as Changes);
    });
    source.addEventListener("reset", (message) => {
      cursor = message.lastEventId;
      handlers.reset();
    });
    source.onerror = () => {
      setState("offline");
      source?.close(); // the browser would try the old cursor, and give up on any answer but 200
      timer = setTimeout(open, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
      failures += 1;
    };
  };
  const retryNow = () => {
    if (state !== "offline") return;
    clearTimeout(timer);
    source?.close();
    open();
  };

  setState("connecting");
  open();
  window.addEventListener("online", retryNow);
  return () => {
    window.removeEventListener("online", retryNow);
    clearTimeout(timer);
    source?.close();
    setState("off");
  };
}
