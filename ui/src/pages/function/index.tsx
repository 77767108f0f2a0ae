import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useLive } from "~/api/live";
import { queryClient, read } from "~/api/query";
import { ErrorState, Skeleton } from "~/parts/ErrorState";
import { Page } from "~/parts/Page";
import { useKeys } from "~/parts/useKeys";
import { useSeldom } from "../functions/useSeldom";
import { Actions } from "./Actions";
import { Charts } from "./Charts";
import { Configuration } from "./Configuration";
import { Failures } from "./Failures";
import s from "./function.module.css";
import { Head } from "./Head";
import { InvokeDialog } from "./InvokeDialog";
import { Limits } from "./Limits";
import { PauseDialog } from "./PauseDialog";
import { RecentRuns } from "./RecentRuns";
import { SPANS } from "./search";

/** Numbers are counted again at most this often, and only when runs of the function may have changed. */
const COUNT_MS = 2_000;

/** While something waits or is in progress, its charts go on even when no run changes. */
const GO_ON_MS = 60_000;

/** One function: what starts it, how it does, what it fails with; pause, resume, invoke. */
export function FunctionPage() {
  const { slug } = useParams({ from: "/functions/$slug" });
  const { hours = 24 } = useSearch({ from: "/functions/$slug" });
  const navigate = useNavigate({ from: "/functions/$slug" });
  const [dialog, setDialog] = useState<"invoke" | "pause" | null>(null);
  const path = { slug };
  const functionQuery = read("GET /api/functions/{slug}", { path });
  const fn = useQuery(functionQuery);
  const stats = useQuery({
    ...read("GET /api/functions/{slug}/stats", { path, query: { hours, buckets: 48 } }),
    placeholderData: keepPreviousData,
    refetchInterval: ({ state: { data } }) => (data && data.backlog + data.running > 0 ? GO_ON_MS : false),
  });
  const failures = useQuery(read("GET /api/functions/{slug}/failures", { path }));
  const runs = useQuery(read("GET /api/runs", { query: { function: slug, limit: 10 } }));
  const countAgain = useSeldom(() => {
    for (const endpoint of ["GET /api/functions/{slug}/stats", "GET /api/functions/{slug}/failures", "GET /api/runs"]) {
      queryClient.invalidateQueries({ queryKey: [endpoint], refetchType: "active" });
    }
  }, COUNT_MS);
  const refresh = () => queryClient.invalidateQueries({ queryKey: functionQuery.queryKey });
  useLive(["functions", "runs"], {
    changes: (changes) => {
      if (changes.functions) refresh();
      if (changes.is_partial || changes.functions || changes.runs?.length) countAgain();
    },
    reset: () => {
      refresh();
      countAgain();
    },
  });
  useKeys(
    {
      i: { does: "Invoke", act: () => setDialog("invoke") },
      p: { does: "Pause, or resume", act: () => setDialog("pause") },
    },
    fn.isSuccess && dialog === null,
  );

  if (!fn.isSuccess) {
    return (
      <Page title={slug}>
        {fn.isPending ? <Skeleton lines={12} /> : <ErrorState error={fn.error} retry={() => fn.refetch()} />}
      </Page>
    );
  }
  return (
    <Page
      title={fn.data.name}
      head={<Head fn={fn.data} />}
      actions={<Actions fn={fn.data} invoke={() => setDialog("invoke")} pause={() => setDialog("pause")} />}
    >
      <div className={s.page}>
        <Limits stats={stats.data} span={spanText(hours)} />
        <fieldset className={s.spans}>
          <legend className="visually-hidden">Time</legend>
          {SPANS.map((span) => (
            <button
              key={span}
              type="button"
              aria-pressed={span === hours}
              onClick={() =>
                navigate({ search: span === 24 ? {} : { hours: span }, replace: true, resetScroll: false })
              }
            >
              {spanText(span)}
            </button>
          ))}
        </fieldset>
        <Charts stats={stats} />
        <div className={s.columns}>
          <Failures query={failures} />
          <RecentRuns slug={slug} query={runs} />
        </div>
        <Configuration config={fn.data.config} triggers={fn.data.triggers} />
      </div>
      {dialog === "invoke" && <InvokeDialog fn={fn.data} close={() => setDialog(null)} />}
      {dialog === "pause" && <PauseDialog fn={fn.data} close={() => setDialog(null)} />}
    </Page>
  );
}

function spanText(hours: number): string {
  return hours === 168 ? "7 d" : `${hours} h`;
}
