import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useDeferredValue, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { Explanation, Timeline } from "~/api/api.gen";
import type { LogLine } from "~/api/live";
import { EmptyState } from "~/parts/EmptyState";
import { useKeys } from "~/parts/useKeys";
import { maxAttempts } from "./config";
import { Divider, useLength } from "./Divider";
import type { Frame } from "./frame";
import { Facts } from "./Head";
import { LogStream } from "./LogStream";
import { buildModel, flatten, type Line } from "./layout";
import { isOf } from "./lines";
import { Overview } from "./Overview";
import { RowPane } from "./RowPane";
import { RunPane } from "./RunPane";
import { SkipSleep } from "./SkipSleep";
import { Split } from "./Split";
import type { RunSearch, Tab } from "./search";
import { Toolbar } from "./Toolbar";
import { useConfig } from "./useConfig";
import type { useLogs } from "./useLogs";
import { useSelection } from "./useSelection";
import { useSpans } from "./useSpans";
import s from "./View.module.css";
import { Waterfall } from "./Waterfall";
import { Why } from "./Why";
import type { Window } from "./window";

const NONE: ReadonlySet<string> = new Set();
/** Log lines this near to the pointer, as a part of the time that is shown, are marked. */
const NEAR = 0.01;

type Props = {
  timeline: Timeline;
  frame: Frame;
  why: Explanation | undefined;
  log: ReturnType<typeof useLogs>["log"];
  hasChanged: () => void;
};

/** A run that is there: its head, its waterfall, the pane beside it, the log below. */
export function View({ timeline, frame, why, log, hasChanged }: Props) {
  const { run } = timeline;
  const search = useSearch({ from: "/runs/$id" });
  const navigate = useNavigate({ from: "/runs/$id" });
  const change = useCallback(
    (next: Partial<RunSearch>) => void navigate({ search: (old) => ({ ...old, ...next }), replace: true }),
    [navigate],
  );
  const spans = useSpans(run.id);
  const model = useMemo(() => buildModel(timeline, spans), [timeline, spans]);
  useLayoutEffect(() => {
    let last = 0;
    for (const { items } of model.groups)
      for (const { segments } of items) for (const { to } of segments) last = Math.max(last, to ?? 0);
    frame.update(model.origin, model.end, model.now, last);
  }, [model, frame]);
  const firstWindow = useRef(
    search.from !== undefined && search.to !== undefined ? { from: search.from, to: search.to } : null,
  );
  useLayoutEffect(() => {
    if (firstWindow.current) frame.choose(firstWindow.current);
  }, [frame]);
  const choose = (window: Window | null) =>
    change({ from: window ? Math.round(window.from) : undefined, to: window ? Math.round(window.to) : undefined });
  const reset = () => {
    frame.choose(null);
    choose(null);
  };

  const [flipped, setFlipped] = useState(NONE);
  const text = useDeferredValue(search.q ?? "");
  const lines = useMemo(
    () =>
      flatten(model.groups, {
        text,
        errorsOnly: search.errors === true,
        hidesReplays: search.replays === false,
        isFolded: search.fold === "all",
        flipped,
      }),
    [model, text, search.errors, search.replays, search.fold, flipped],
  );
  const toggle = useCallback((line: Line) => {
    setFlipped((old) => {
      const next = new Set(old);
      if (!next.delete(line.group.id)) next.add(line.group.id);
      return next;
    });
  }, []);
  const fold = (how: "all" | "none") => {
    setFlipped(NONE);
    change({ fold: how === "all" ? "all" : undefined });
  };
  const select = useCallback((id: string | undefined) => change({ row: id, tab: undefined }), [change]);
  const selected = useSelection(model, search.row, select);
  const find = useRef<HTMLInputElement>(null);
  useKeys({
    "/": { does: "Find a step", act: () => find.current?.focus() },
    x: { does: "Errors only", act: () => change({ errors: search.errors ? undefined : true }) },
    e: { does: "Expand all", act: () => fold("none") },
    w: { does: "Collapse all", act: () => fold("all") },
    "0": { does: "Show all of the time", act: reset },
    ...(selected && { escape: { does: "Close the details", act: () => select(undefined) } }),
  });

  const list = useRef<HTMLDivElement>(null);
  const mark = useCallback(
    (at: number | null) => {
      const { from, to } = frame.window;
      const reach = (to - from) * NEAR;
      for (const line of list.current?.querySelectorAll<HTMLElement>("[data-at]") ?? []) {
        line.toggleAttribute("data-near", at !== null && Math.abs(Number(line.dataset.at) - at) <= reach);
      }
    },
    [frame],
  );
  const config = useConfig(run.id);
  const [width, setWidth] = useLength("run.pane", Math.min(420, innerWidth / 3), 280, () => innerWidth * 0.6);
  const [height, setHeight] = useLength("run.log", 220, 90, () => innerHeight * 0.6);
  const [isLogOpen, setLogOpen] = useState(() => localStorage.getItem("stepwell.run.log.open") !== "no");
  const openLog = (is: boolean) => {
    localStorage.setItem("stepwell.run.log.open", is ? "yes" : "no");
    setLogOpen(is);
  };
  const selectFrom = useCallback(
    (line: LogLine) => {
      const items = model.groups.flatMap((group) => group.items);
      const own =
        items.find((item) => isOf(line, item.row)) ??
        items.findLast((item) => item.row.step_id === line.step_id && item.row.step_id !== null) ??
        items.find((item) => item.id === line.attempt_id);
      if (own) select(own.id);
    },
    [model, select],
  );
  const onTab = (tab: Tab | undefined) => change({ tab });
  const logLines = log.data?.lines;
  const itemLines = useMemo(
    () => (selected ? (logLines ?? []).filter((line) => isOf(line, selected.item.row)) : []),
    [selected, logLines],
  );
  return (
    <div className={s.view}>
      <div className={s.head}>
        <Facts run={run} frame={frame} />
        {why && why.status !== "completed" && <Why why={why} />}
        {run.status !== "skipped" && <Split model={model} frame={frame} durations={run.durations} />}
      </div>
      <div className={s.columns}>
        <div className={s.main} style={{ "--lines": lines.length }}>
          <Toolbar
            model={model}
            frame={frame}
            search={search}
            change={change}
            onFold={fold}
            onReset={reset}
            input={find}
          />
          <div className={s.overview}>
            <span className={s.corner}>
              {counted(model.steps, "step")}, {counted(model.attempts, "attempt")}
            </span>
            <Overview model={model} frame={frame} onChoose={choose} />
          </div>
          {lines.length === 0 ? (
            <Nothing isFiltered={model.groups.length > 0} isOver={run.ended_at !== null} />
          ) : (
            <Waterfall
              lines={lines}
              frame={frame}
              selected={selected?.id}
              zoomedTo={search.from}
              onSelect={select}
              onToggle={toggle}
              onHover={mark}
            />
          )}
        </div>
        <Divider label="Width of the details" side="right" px={width} onChange={setWidth} />
        <aside
          className={s.pane}
          aria-label="Details"
          data-sheet={selected ? "open" : undefined}
          style={{ "--pane": `${width}px` }}
        >
          {selected ? (
            <RowPane
              key={selected.id}
              runId={run.id}
              group={selected.group}
              item={selected.item}
              span={selected.span ?? null}
              lines={itemLines}
              maxAttempts={config === undefined ? null : maxAttempts(config)}
              frame={frame}
              tab={search.tab}
              onTab={onTab}
              onClose={() => select(undefined)}
              actions={<SkipSleep runId={run.id} item={selected.item} onDone={hasChanged} />}
            />
          ) : (
            <RunPane run={run} rows={timeline.rows} tab={search.tab} onTab={onTab} />
          )}
        </aside>
      </div>
      <div className={s.log} data-open={isLogOpen || undefined} style={{ "--log": `${height}px` }}>
        {isLogOpen && <Divider label="Height of the log" side="bottom" px={height} onChange={setHeight} />}
        <LogStream
          log={log}
          level={search.level ?? "debug"}
          text={search.log ?? ""}
          onLevel={(level) => change({ level: level === "debug" ? undefined : level })}
          onText={(text) => change({ log: text || undefined })}
          onSelect={selectFrom}
          isOpen={isLogOpen}
          onOpen={openLog}
          isLive={run.ended_at === null}
          list={list}
        />
      </div>
    </div>
  );
}

function Nothing({ isFiltered, isOver }: { isFiltered: boolean; isOver: boolean }) {
  if (isFiltered)
    return <EmptyState title="No step is like that">Find another text, or show more than errors.</EmptyState>;
  return isOver ? <EmptyState title="Nothing ran" /> : <EmptyState title="Nothing has run yet" />;
}

function counted(count: number, word: string): string {
  return `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;
}
