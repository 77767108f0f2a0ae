import { Link } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { useRef } from "react";
import { useKeys } from "~/parts/useKeys";
import { FunctionRow } from "./FunctionRow";
import s from "./functions.module.css";
import type { Row } from "./rows";
import type { FunctionsSearch, Sort } from "./search";

const ROW_PX = 57;

const COLUMNS: { name: string; sort?: Sort; className?: string | undefined; title?: string }[] = [
  { name: "Function", sort: "name" },
  { name: "Triggers" },
  { name: "24 h", sort: "runs", title: "Runs that ended in the last 24 hours" },
  { name: "Failed", sort: "failed", className: s.number, title: "Of those, how many failed" },
  { name: "p50 / p95", sort: "p95", className: s.number, title: "From start to end, with all waits" },
  { name: "Backlog", sort: "backlog", className: s.number, title: "Runs that wait for their first call" },
  { name: "Running", sort: "running", className: s.number },
  { name: "Last error", sort: "last_error" },
];

type Props = { rows: Row[]; search: FunctionsSearch; change: (part: Partial<FunctionsSearch>) => void };

export function FunctionTable({ rows, search, change }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    getItemKey: (index) => rows[index]?.fn.slug ?? index,
    overscan: 8,
  });
  const step = (by: number) => {
    const links = [...(scroller.current?.querySelectorAll<HTMLAnchorElement>("a[data-row]") ?? [])];
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    links[Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
  };
  const next = { does: "Next, previous", act: () => step(1) };
  const previous = { does: "Next, previous", act: () => step(-1) };
  useKeys({ j: next, k: previous, arrowdown: next, arrowup: previous });
  const items = virtual.getVirtualItems();
  return (
    <div ref={scroller} className={s.scroller}>
      {/* biome-ignore lint/a11y/useSemanticElements: rows are laid out by a virtual list */}
      <div role="table" aria-label="Functions" aria-rowcount={rows.length + 1}>
        {/* biome-ignore lint/a11y/useSemanticElements: as above */}
        {/* biome-ignore lint/a11y/useFocusableInteractive: the buttons within are */}
        <div role="row" className={s.head}>
          {COLUMNS.map((column) => (
            <Header key={column.name} column={column} search={search} change={change} />
          ))}
        </div>
        {/* biome-ignore lint/a11y/useSemanticElements: as above */}
        <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: "relative" }}>
          {items.map((item) => {
            const row = rows[item.index];
            return (
              row && (
                <FunctionRow
                  key={item.key}
                  row={row}
                  index={item.index}
                  measure={virtual.measureElement}
                  top={item.start}
                />
              )
            );
          })}
        </div>
      </div>
      <p className={s.foot}>
        <Link to="/send">Send an event</Link> to start one of them.
      </p>
    </div>
  );
}

function Header({ column, search, change }: { column: (typeof COLUMNS)[number] } & Omit<Props, "rows">) {
  const { name, sort, className = "", title } = column;
  const isSorted = sort !== undefined && (search.sort ?? "name") === sort;
  const isUp = (sort === "name") !== (search.reverse === true);
  const turn = () =>
    change({ sort: sort === "name" ? undefined : sort, reverse: isSorted && !search.reverse ? true : undefined });
  return (
    // biome-ignore lint/a11y/useSemanticElements: rows are laid out by a virtual list
    // biome-ignore lint/a11y/useFocusableInteractive: the button within is
    <div
      role="columnheader"
      className={className}
      aria-sort={isSorted ? (isUp ? "ascending" : "descending") : undefined}
      title={title}
    >
      {sort ? (
        <button type="button" className={s.sort} onClick={turn}>
          {name}
          {isSorted && (isUp ? <ArrowUp size={12} aria-hidden /> : <ArrowDown size={12} aria-hidden />)}
        </button>
      ) : (
        name
      )}
    </div>
  );
}
