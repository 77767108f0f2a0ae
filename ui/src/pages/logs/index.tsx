import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { ArrowDown, ScrollText } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import { read } from "~/api/query";
import { functionNames } from "~/lists/triggers";
import { Button } from "~/parts/Button";
import { EmptyState } from "~/parts/EmptyState";
import { ErrorState, Skeleton } from "~/parts/ErrorState";
import { Page } from "~/parts/Page";
import { useKeys } from "~/parts/useKeys";
import { Filters, TextFilter } from "./Filters";
import { Lines, type LinesHandle } from "./Lines";
import s from "./logs.module.css";
import type { LogsSearch } from "./search";
import { useTail } from "./useTail";

/** What user code logs and prints, of all runs, as it comes. */
export function LogsPage() {
  const search = useSearch({ from: "/logs" });
  const navigate = useNavigate({ from: "/logs" });
  const [isFollowing, setFollowing] = useState(true);
  const followed = useRef(true);
  const lines = useRef<LinesHandle>(null);
  const { tail, state, error, isLoadingOlder, loadOlder, restart } = useTail(search, () => followed.current);
  const change = (part: Partial<LogsSearch>) =>
    navigate({ search: (old) => ({ ...old, ...part }), replace: true, resetScroll: false });
  const follow = (yes: boolean) => {
    followed.current = yes;
    setFollowing(yes);
  };
  const toNewest = () => {
    follow(true);
    if (tail.missed > 0) restart();
    else lines.current?.toEnd();
  };
  useKeys({
    n: { does: "Follow, or stop", act: () => (isFollowing ? follow(false) : toNewest()) },
    end: { does: "To the newest line", act: toNewest },
  });
  const functions = useQuery(read("GET /api/functions", {})).data?.items;
  const names = useMemo(() => functionNames(functions), [functions]);
  const isFiltered = Object.keys(search).length > 0;
  const isLive = search.until === undefined;
  return (
    <Page
      title="Logs"
      actions={
        isLive && (
          <Button aria-pressed={isFollowing} onClick={() => (isFollowing ? follow(false) : toNewest())} hotkey="n">
            <i className={s.dot} data-on={isFollowing} aria-hidden />
            {isFollowing ? "Following" : "Follow"}
          </Button>
        )
      }
      head={
        <>
          <h1>Logs</h1>
          <TextFilter text={search.q ?? ""} change={(q) => change({ q: q || undefined })} />
        </>
      }
      bar={<Filters search={search} functions={functions} change={change} />}
      isFilled
    >
      {state === "loading" ? (
        <Skeleton lines={14} />
      ) : state === "failed" ? (
        <ErrorState error={error} retry={restart} />
      ) : tail.lines.length === 0 ? (
        <EmptyState title={isFiltered ? "No line matches" : "No lines yet"} icon={<ScrollText size={20} />}>
          {isFiltered ? (
            <Button onClick={() => navigate({ search: {} })}>Clear the filters</Button>
          ) : (
            "What functions print or log appears here while they run."
          )}
          {tail.older !== null && (
            <Button isBusy={isLoadingOlder} onClick={loadOlder}>
              Look further back
            </Button>
          )}
        </EmptyState>
      ) : (
        <Lines
          handle={lines}
          tail={tail}
          isFollowing={isFollowing && isLive}
          follow={follow}
          isLoadingOlder={isLoadingOlder}
          loadOlder={loadOlder}
          names={names}
        />
      )}
      {!isFollowing && isLive && state === "ready" && tail.lines.length > 0 && (
        <div className={s.below}>
          <Button onClick={toNewest}>
            <ArrowDown size={14} aria-hidden />
            {tail.missed > 0 ? `${tail.missed} more came in: to the newest` : "To the newest"}
          </Button>
        </div>
      )}
    </Page>
  );
}
