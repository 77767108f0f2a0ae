import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDownToLine, ChevronDown, ChevronUp } from "lucide-react";
import { type RefObject, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import type { LogLine } from "~/api/live";
import { Button } from "~/parts/Button";
import { EmptyState } from "~/parts/EmptyState";
import { ErrorState, Note, Skeleton } from "~/parts/ErrorState";
import { fieldsText, tracebackOf } from "~/parts/fields";
import { exact } from "~/parts/instant";
import s from "./LogStream.module.css";
import { chooseLines, type Entry, withHeads } from "./lines";
import { LEVELS, type Level } from "./search";
import type { useLogs } from "./useLogs";
import { clock } from "./words";

const LINE_PX = 22;
/** So near to the end a reader follows it. */
const END_PX = 24;

type Props = {
  log: ReturnType<typeof useLogs>["log"];
  level: Level;
  text: string;
  onLevel: (level: Level) => void;
  onText: (text: string) => void;
  onSelect: (line: LogLine) => void;
  isOpen: boolean;
  onOpen: (isOpen: boolean) => void;
  isLive: boolean;
  list: RefObject<HTMLDivElement | null>;
};

/** The lines that a run wrote, under the step and attempt that wrote them, as they come. */
export function LogStream({ log, level, text, onLevel, onText, onSelect, isOpen, onOpen, isLive, list }: Props) {
  const [withReplayed, setWithReplayed] = useState(false);
  const [isFollowing, setFollowing] = useState(true);
  const all = log.data?.lines;
  const wanted = useDeferredValue(text);
  const chosen = useMemo(
    () => chooseLines(all ?? [], { level, text: wanted, withReplayed }),
    [all, level, wanted, withReplayed],
  );
  const entries = useMemo(() => withHeads(chosen), [chosen]);
  const replayed = useMemo(() => (all ?? []).filter((line) => line.is_replayed).length, [all]);
  return (
    <section className={s.stream} aria-label="Log">
      <div className={s.bar}>
        <button type="button" className={s.fold} aria-expanded={isOpen} onClick={() => onOpen(!isOpen)}>
          {isOpen ? <ChevronDown size={14} aria-hidden /> : <ChevronUp size={14} aria-hidden />} Log
          <span className={s.count}>{chosen.length.toLocaleString()}</span>
        </button>
        {isOpen && (
          <>
            <select aria-label="Least level" value={level} onChange={(event) => onLevel(event.target.value as Level)}>
              {LEVELS.map((it) => (
                <option key={it} value={it}>
                  {it === "debug" ? "all levels" : it === "error" ? "errors" : `${it} and up`}
                </option>
              ))}
            </select>
            <input
              type="search"
              aria-label="Find in the log"
              placeholder="Find in the log"
              value={text}
              onChange={(event) => onText(event.target.value)}
            />
            {replayed > 0 && (
              <label className={s.check}>
                <input
                  type="checkbox"
                  checked={withReplayed}
                  onChange={(event) => setWithReplayed(event.target.checked)}
                />
                replayed ({replayed.toLocaleString()})
              </label>
            )}
            {!isFollowing && isLive && (
              <Button look="ghost" onClick={() => setFollowing(true)}>
                <ArrowDownToLine size={14} aria-hidden /> Follow
              </Button>
            )}
          </>
        )}
      </div>
      {isOpen && (
        <>
          {log.data && log.data.dropped > 0 && (
            <Note kind="partial">{log.data.dropped.toLocaleString()} more lines were written, and not kept.</Note>
          )}
          {log.error ? (
            <ErrorState error={log.error} retry={() => log.refetch()} />
          ) : !log.data ? (
            <Skeleton lines={3} />
          ) : entries.length === 0 ? (
            <Nothing has={log.data.lines.length > 0} isLive={isLive} />
          ) : (
            <Lines
              entries={entries}
              isFollowing={isFollowing}
              onFollow={setFollowing}
              onSelect={onSelect}
              list={list}
            />
          )}
        </>
      )}
    </section>
  );
}

function Nothing({ has, isLive }: { has: boolean; isLive: boolean }) {
  if (has)
    return <EmptyState title="No line is like that">Choose another level or text, or show replayed lines.</EmptyState>;
  return (
    <EmptyState title={isLive ? "No lines yet" : "This run wrote no lines"}>
      What a function logs or prints is shown here while it runs.
    </EmptyState>
  );
}

type LinesProps = {
  entries: Entry[];
  isFollowing: boolean;
  onFollow: (is: boolean) => void;
  onSelect: Props["onSelect"];
  list: Props["list"];
};

function Lines({ entries, isFollowing, onFollow, onSelect, list }: LinesProps) {
  const virtual = useVirtualizer({
    count: entries.length,
    getScrollElement: () => list.current,
    estimateSize: () => LINE_PX,
    overscan: 10,
    getItemKey: (index) => entries[index]?.key ?? index,
  });
  const height = virtual.getTotalSize();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the end moves when the list gets longer
  useEffect(() => {
    if (isFollowing && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [isFollowing, height, entries.length, list]);
  const lastTop = useRef(0);
  const onScroll = () => {
    const box = list.current;
    if (!box) return;
    const isUp = box.scrollTop < lastTop.current - 1;
    lastTop.current = box.scrollTop;
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < END_PX;
    if (isAtEnd && !isFollowing) onFollow(true);
    else if (isUp && !isAtEnd && isFollowing) onFollow(false);
  };
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must be able to
    <div ref={list} className={s.lines} onScroll={onScroll} tabIndex={0} role="log" aria-label="Lines" aria-live="off">
      <div style={{ height, position: "relative" }}>
        {virtual.getVirtualItems().map((item) => {
          const entry = entries[item.index];
          if (!entry) return null;
          return (
            <div
              key={item.key}
              ref={virtual.measureElement}
              data-index={item.index}
              className={s.entry}
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <One entry={entry} onSelect={onSelect} />
            </div>
          );
        })}
      </div>
    </div>
  );
}

function One({ entry, onSelect }: { entry: Entry; onSelect: Props["onSelect"] }) {
  const { line } = entry;
  if (entry.kind === "head") {
    return (
      <button type="button" className={s.head} onClick={() => onSelect(line)}>
        {line.step ?? "function"}
        {line.attempt !== null && <span>attempt {line.attempt + 1}</span>}
      </button>
    );
  }
  const fields = fieldsText(line.fields);
  const traceback = tracebackOf(line.fields);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: the heading above is the button; this is a larger target
    // biome-ignore lint/a11y/useKeyWithClickEvents: see above
    <div
      className={s.line}
      data-at={Date.parse(line.at)}
      data-level={line.level}
      data-replayed={line.is_replayed || undefined}
      onClick={() => {
        if (!getSelection()?.toString()) onSelect(line);
      }}
    >
      <time dateTime={line.at} title={exact(line.at)}>
        {clock(line.at)}
      </time>
      <span className={s.level}>{line.level}</span>
      <span className={s.message}>
        {line.message}
        {fields && <em>{fields}</em>}
        {traceback && <span className={s.traceback}>{traceback}</span>}
      </span>
    </div>
  );
}
