import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Boxes, Search } from "lucide-react";
import { useMemo } from "react";
import { useLive } from "~/api/live";
import { queryClient, read } from "~/api/query";
import { EmptyState } from "~/parts/EmptyState";
import { ErrorState, Note, Skeleton } from "~/parts/ErrorState";
import { Page } from "~/parts/Page";
import { SearchField } from "~/parts/SearchField";
import { FunctionTable } from "./FunctionTable";
import s from "./functions.module.css";
import { rowsOf } from "./rows";
import type { FunctionsSearch } from "./search";
import { useSeldom } from "./useSeldom";

const HOURS = 24;
/** Numbers of all functions are counted again at most this often, and only when something has happened. */
const STATS_MS = 3_000;

const functionsQuery = read("GET /api/functions", {});
const statsQuery = read("GET /api/functions/stats", { query: { hours: HOURS } });

export function FunctionsPage() {
  const search = useSearch({ from: "/functions" });
  const navigate = useNavigate({ from: "/functions" });
  const functions = useQuery(functionsQuery);
  const stats = useQuery({ ...statsQuery, placeholderData: keepPreviousData });
  const countAgain = useSeldom(() => queryClient.invalidateQueries({ queryKey: statsQuery.queryKey }), STATS_MS);
  const fetchAgain = () => queryClient.invalidateQueries({ queryKey: functionsQuery.queryKey });
  useLive(["functions", "runs"], {
    changes: (changes) => {
      if (changes.functions) fetchAgain();
      countAgain();
    },
    reset: () => {
      fetchAgain();
      countAgain();
    },
  });
  const change = (part: Partial<FunctionsSearch>) =>
    navigate({ search: (old) => ({ ...old, ...part }), replace: true, resetScroll: false });

  const rows = useMemo(
    () => rowsOf(functions.data?.items ?? [], stats.data?.items ?? [], search),
    [functions.data, stats.data, search],
  );
  const total = functions.data?.items.length ?? 0;
  const head = (
    <>
      <h1>Functions</h1>
      <SearchField
        label="Search functions"
        placeholder="Name, app, trigger, or “paused”"
        value={search.q ?? ""}
        onChange={(q) => change({ q: q || undefined })}
      />
    </>
  );
  return (
    <Page title="Functions" actions={total > 0 && <Count shown={rows.length} total={total} />} head={head} isFilled>
      {stats.isError && <Note kind="partial">The numbers can't be shown: {stats.error.message}</Note>}
      {stats.data?.is_partial && (
        <Note kind="partial">There were too many runs to count all of the last {HOURS} hours.</Note>
      )}
      {functions.isPending ? (
        <Skeleton lines={10} />
      ) : functions.isError ? (
        <ErrorState error={functions.error} retry={() => functions.refetch()} />
      ) : total === 0 ? (
        <EmptyState title="No functions yet" icon={<Boxes size={20} />}>
          Start an app that serves functions, and they appear here. <Link to="/welcome">Write the first one</Link>
        </EmptyState>
      ) : rows.length === 0 ? (
        <EmptyState title="No function matches" icon={<Search size={20} />}>
          <button type="button" className={s.link} onClick={() => change({ q: undefined })}>
            Show all {total}
          </button>
        </EmptyState>
      ) : (
        <FunctionTable rows={rows} search={search} change={change} />
      )}
    </Page>
  );
}

function Count({ shown, total }: { shown: number; total: number }) {
  return <span className={s.count}>{shown === total ? `${total} in all` : `${shown} of ${total}`}</span>;
}
