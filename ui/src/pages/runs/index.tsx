import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useMemo, useState } from "react";
import type { FunctionView, RunStatus, RunSummary } from "~/api/api.gen";
import { read } from "~/api/query";
import { Grid } from "~/lists/Grid";
import { ListEnd } from "~/lists/ListEnd";
import { NewButton } from "~/lists/NewButton";
import { PickMenu } from "~/lists/PickMenu";
import { RangeMenu } from "~/lists/RangeMenu";
import { Chip, SearchBox } from "~/lists/SearchBox";
import { triggerNames } from "~/lists/triggers";
import { inWords, understand } from "~/lists/understand";
import { useIdSearch } from "~/lists/useIdSearch";
import { Page } from "~/parts/Page";
import { Bulk } from "./Bulk";
import { COLUMNS, nameOf } from "./columns";
import { NoRows } from "./NoRows";
import { RunsChart } from "./RunsChart";
import { StatusChips } from "./StatusChips";
import { checkRunsSearch, isFiltered, type RunsSearch, statusesOf, toggled } from "./search";
import { useRuns } from "./useRuns";
import { useRunsStats } from "./useRunsStats";

const NONE: ReadonlySet<string> = new Set();

export function RunsPage() {
  const { search, go } = useSearchState();
  const functions = useQuery(read("GET /api/functions", {})).data?.items;
  const hints = useMemo(() => ({ of: "runs" as const, names: triggerNames(functions) }), [functions]);
  const readText = useCallback((text: string) => understand(text, hints), [hints]);
  const found = useMemo(() => readText(search.q ?? ""), [readText, search.q]);
  const missing = useIdSearch(found);

  const { span, stats, error: statsError, recount } = useRunsStats(search);
  const feed = useRuns(search, found, recount);
  const [selected, setSelected] = useState<{ of: RunsSearch; ids: ReadonlySet<string> }>({ of: search, ids: NONE });
  const selectedIds = selected.of === search ? selected.ids : NONE;
  const select = (ids: ReadonlySet<string>) => setSelected({ of: search, ids });
  const [isBusy, setBusy] = useState(false);
  const [shows, setShows] = useState(0);
  const showNew = () => {
    feed.showNew();
    setShows(shows + 1);
  };

  const isRefusedWhere = feed.error?.path === "$.where";
  const open = useOpen();
  return (
    <Page
      title="Runs"
      isFilled
      head={
        <>
          <h1>Runs</h1>
          <SearchBox
            label="Search runs"
            placeholder="An id, an event, data.user_id = 42, an error, or CEL"
            value={search.q ?? ""}
            read={readText}
            error={missing ?? (isRefusedWhere ? feed.error?.message : undefined)}
            onSearch={(q) => go({ ...search, q })}
            isHotkeyOn={!isBusy}
          />
        </>
      }
      bar={
        <>
          <StatusChips
            chosen={statusesOf(search)}
            totals={stats?.totals}
            span={span}
            isSearched={found !== null}
            onToggle={(status: RunStatus) => go(toggled(search, status))}
            isHotkeyOn={!isBusy}
          />
          <Filters search={search} functions={functions} go={go} isHotkeyOn={!isBusy} />
          {found && <Chip text={inWords(found)} onRemove={() => go({ ...search, q: undefined })} />}
        </>
      }
    >
      <RunsChart
        stats={stats}
        error={statsError}
        span={span}
        isSearched={found !== null}
        onRange={(from, until) =>
          go({
            ...search,
            range: undefined,
            from: new Date(from).toISOString(),
            until: new Date(until).toISOString(),
          })
        }
      />
      {feed.rows.length > 0 ? (
        <Grid
          label="Runs"
          rows={feed.rows}
          columns={COLUMNS}
          nameOf={nameOf}
          onOpen={open}
          onEnd={feed.searchedUntil ? nothing : feed.more}
          selected={selectedIds}
          onSelect={select}
          isDimmed={feed.isPast}
          isHotkeyOn={!isBusy}
          topKey={shows}
          over={
            <>
              <NewButton count={feed.newCount} onShow={showNew} isHotkeyOn={!isBusy} />
              <Bulk
                selected={feed.rows.filter((run) => selectedIds.has(run.id))}
                onClear={() => select(NONE)}
                isHotkeyOn={!isBusy}
                onBusy={setBusy}
              />
            </>
          }
          after={<ListEnd feed={feed} noun="run" />}
        />
      ) : (
        <NoRows
          feed={feed}
          isFiltered={isFiltered(search)}
          hasFunctions={functions ? functions.length > 0 : undefined}
          onClear={() => go({})}
          onLastDay={() => go({ ...search, from: undefined, until: undefined, range: "24h" })}
        />
      )}
    </Page>
  );
}

type FilterProps = {
  search: RunsSearch;
  functions: FunctionView[] | undefined;
  go: (search: RunsSearch) => void;
  isHotkeyOn: boolean;
};

function Filters({ search, functions = [], go, isHotkeyOn }: FilterProps) {
  const apps = [...new Set(functions.map((one) => one.app))].sort();
  const ofApp = functions.filter((one) => !search.app || one.app === search.app);
  return (
    <>
      <PickMenu
        name="App"
        hotkey="a"
        value={search.app}
        options={apps.map((app) => ({ value: app, name: app }))}
        onPick={(app) => go({ ...search, app, function: undefined })}
        isHotkeyOn={isHotkeyOn}
      />
      <PickMenu
        name="Function"
        hotkey="f"
        value={search.function}
        options={ofApp.map(({ slug, name, app }) => ({ value: slug, name, detail: apps.length > 1 ? app : undefined }))}
        onPick={(slug) => go({ ...search, function: slug })}
        isHotkeyOn={isHotkeyOn}
      />
      <RangeMenu
        range={{ range: search.range, from: search.from, until: search.until }}
        onPick={(range) => go({ ...search, range: undefined, from: undefined, until: undefined, ...range })}
        isHotkeyOn={isHotkeyOn}
      />
    </>
  );
}

/** The address's state, and what changes it: each change is a step that the back button takes back. */
function useSearchState() {
  const navigate = useNavigate();
  return {
    search: useSearch({ from: "/runs" }),
    go: (next: RunsSearch) => void navigate({ to: "/runs", search: checkRunsSearch({ ...next }) }),
  };
}

function useOpen() {
  const navigate = useNavigate();
  return (run: RunSummary, isApart: boolean) =>
    isApart
      ? void window.open(`/runs/${run.id}`, "_blank")
      : void navigate({ to: "/runs/$id", params: { id: run.id } });
}

function nothing() {}
