import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError, api } from "~/api/client";
import { type LogLine, useLive } from "~/api/live";
import { bounds } from "~/lists/range";
import type { LogsSearch } from "./search";
import { EMPTY, isWanted, type Tail, withNew, withOlder } from "./tail";

const PAGE_LINES = 200;
const AFTER_ALL_IDS = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";

export interface Loaded {
  tail: Tail;
  state: "loading" | "ready" | "failed";
  error: ApiError | null;
  isLoadingOlder: boolean;
  loadOlder: () => void;
  /** Fetch the newest again, and let go of the rest. */
  restart: () => void;
}

/** The newest lines that the search wants, then those that come in; older ones on demand. */
export function useTail(search: LogsSearch, isFollowing: () => boolean): Loaded {
  const [tail, setTail] = useState(EMPTY);
  const [state, setState] = useState<Loaded["state"]>("loading");
  const [error, setError] = useState<ApiError | null>(null);
  const [isLoadingOlder, setLoadingOlder] = useState(false);
  const [round, setRound] = useState(0);
  const request = useRef<AbortController>(undefined);
  const key = JSON.stringify(search);

  // biome-ignore lint/correctness/useExhaustiveDependencies: `key` is the search, and a round is another try
  useEffect(() => {
    const control = new AbortController();
    request.current = control;
    setTail(EMPTY);
    setState("loading");
    setLoadingOlder(false);
    fetchPage(search, null, control.signal)
      .then(({ lines, older }) => {
        setTail((now) => withOlder(now, lines, older));
        setState("ready");
      })
      .catch((failure) => {
        if (control.signal.aborted) return;
        setError(asApiError(failure));
        setState("failed");
      });
    return () => control.abort();
  }, [key, round]);

  const restart = useCallback(() => setRound((n) => n + 1), []);
  const loadOlder = () => {
    const control = request.current;
    if (isLoadingOlder || tail.older === null || !control) return;
    setLoadingOlder(true);
    fetchPage(search, tail.older, control.signal)
      .then(({ lines, older }) => setTail((now) => withOlder(now, lines, older)))
      .catch((failure) => !control.signal.aborted && setError(asApiError(failure)))
      .finally(() => !control.signal.aborted && setLoadingOlder(false));
  };
  useLive(
    [search.run ? `logs:${search.run}` : "logs"],
    {
      changes: ({ logs, is_partial }) => {
        if (is_partial) restart();
        const news = (logs ?? []).filter((line) => isWanted(line, search));
        if (news.length > 0) setTail((now) => withNew(now, news, isFollowing()));
      },
      reset: restart,
    },
    search.until === undefined, // what is over brings no news
  );
  return { tail, state, error, isLoadingOlder, loadOlder, restart };
}

async function fetchPage(search: LogsSearch, before: string | null, signal: AbortSignal) {
  const page = await api("GET /api/logs", {
    query: {
      run_id: search.run,
      function: search.fn,
      level: search.level,
      text: search.q,
      replayed: search.replayed,
      ...bounds(search, Date.now()),
      before: before ?? (search.run ? AFTER_ALL_IDS : undefined), // of one run, too, the newest come first
      limit: PAGE_LINES,
    },
    signal,
  });
  return { lines: page.items as LogLine[], older: page.next_cursor };
}

function asApiError(failure: unknown): ApiError {
  return failure instanceof ApiError ? failure : new ApiError(0, "failed", String(failure));
}
