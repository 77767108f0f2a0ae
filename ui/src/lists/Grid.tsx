// biome-ignore-all lint/a11y/useSemanticElements: of a table's rows, a browser can't have only those that are seen
// biome-ignore-all lint/a11y/useFocusableInteractive: the grid has the focus, and says which row is meant
// A table of any length: only what is seen is in the page. The keyboard's place is a row, wherever that row moves to.
import { useVirtualizer } from "@tanstack/react-virtual";
import { type MouseEvent, type ReactNode, useCallback, useEffect, useRef, useState } from "react";
import { type Key, useKeys } from "~/parts/useKeys";
import s from "./Grid.module.css";
import { type Column, GridRow, rowName } from "./GridRow";
import type { Row } from "./merge";
import { useIsNarrow } from "./useIsNarrow";

const ROW_PX = 36;
const CARD_PX = 60;
/** So many rows before the end, the next page is fetched. */
const AHEAD_ROWS = 15;

type Props<T extends Row> = {
  label: string;
  rows: readonly T[];
  columns: readonly Column<T>[];
  /** What a row is called, for those who hear it. */
  nameOf: (row: T) => string;
  onOpen: (row: T, isApart: boolean) => void;
  onEnd: () => void;
  selected?: ReadonlySet<string>;
  onSelect?: (ids: ReadonlySet<string>) => void;
  /** The row at which the keyboard is, told so that keys of the page can act on it. */
  onCursor?: (row: T | undefined) => void;
  isDimmed?: boolean;
  isHotkeyOn?: boolean;
  after?: ReactNode;
  /** Lies over the list's top. */
  over?: ReactNode;
  /** Changes when the list is to go back to its top. */
  topKey?: unknown;
};

export function Grid<T extends Row>(props: Props<T>) {
  const { label, rows, columns, selected, onSelect, onOpen, onEnd, onCursor, isHotkeyOn = true, topKey } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const isNarrow = useIsNarrow();
  const rowPx = isNarrow ? CARD_PX : ROW_PX;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowPx,
    getItemKey: (at) => rows[at]?.id ?? at,
    overscan: 12,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: the sizes are others when the layout is
  useEffect(() => virtual.measure(), [rowPx]);

  const [cursorId, setCursorId] = useState<string>();
  const anchor = useRef<string | undefined>(undefined);
  const at = rows.findIndex((row) => row.id === cursorId);
  const cursor = rows[at];
  useEffect(() => onCursor?.(cursor), [cursor, onCursor]);

  const items = virtual.getVirtualItems();
  const lastSeen = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (rows.length > 0 && lastSeen >= rows.length - AHEAD_ROWS) onEnd();
  }, [lastSeen, rows.length, onEnd]);

  const isFirst = useRef(true);
  // biome-ignore lint/correctness/useExhaustiveDependencies: topKey is what asks for it
  useEffect(() => {
    if (isFirst.current) isFirst.current = false;
    else scroller.current?.scrollTo({ top: 0 });
  }, [topKey]);

  const span = useCallback(
    (to: string) => {
      const [a, b] = [anchor.current ?? to, to].map((id) => rows.findIndex((row) => row.id === id));
      if (a === undefined || b === undefined || a < 0 || b < 0) return [to];
      return rows.slice(Math.min(a, b), Math.max(a, b) + 1).map((row) => row.id);
    },
    [rows],
  );
  const select = (id: string, isRange: boolean) => {
    if (!onSelect) return;
    const next = new Set(selected);
    if (isRange) for (const one of span(id)) next.add(one);
    else if (!next.delete(id)) next.add(id);
    if (!isRange || anchor.current === undefined) anchor.current = id;
    onSelect(next);
  };
  const move = (by: number, isRange = false) => {
    const next = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by))];
    if (!next) return;
    if (isRange && onSelect) {
      anchor.current ??= cursorId ?? next.id;
      onSelect(new Set([...(selected ?? []), ...span(next.id)]));
    }
    setCursorId(next.id);
    virtual.scrollToIndex(rows.indexOf(next), { align: "auto" });
  };
  const pageRows = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 400) / rowPx) - 2);

  const by = (count: number, does: string): Key => ({ does, act: (event) => move(count, event.shiftKey) });
  const step = onSelect ? "Next, previous; with shift, select on the way" : "Next, previous";
  const onEnter = (event: KeyboardEvent) => {
    // Enter belongs to a button or a link that has the focus; else it opens the row.
    if (!cursor || (event.target !== document.body && event.target !== scroller.current)) return false;
    onOpen(cursor, event.metaKey || event.ctrlKey);
    return true;
  };
  useKeys(
    {
      j: by(1, step),
      k: by(-1, step),
      arrowdown: by(1, step),
      arrowup: by(-1, step),
      pagedown: { does: "A page down, a page up", act: () => move(pageRows) },
      pageup: { does: "A page down, a page up", act: () => move(-pageRows) },
      home: { does: "First, last", act: () => move(-rows.length) },
      end: { does: "First, last", act: () => move(rows.length) },
      enter: { does: "Open", act: onEnter },
      "mod+enter": { does: "Open in a tab of its own", act: onEnter },
      ...(onSelect && {
        x: {
          does: "Select; with shift, all up to here",
          act: (event: KeyboardEvent) => cursorId && select(cursorId, event.shiftKey),
        },
      }),
    },
    isHotkeyOn,
  );
  const click = (row: T, event: MouseEvent) => {
    if ((event.target as HTMLElement).closest("a, button, input, label")) return;
    if (getSelection()?.toString()) return;
    onOpen(row, event.metaKey || event.ctrlKey);
  };

  const tracks = [...(onSelect ? ["30px"] : []), ...columns.map((column) => column.width)].join(" ");
  return (
    <div className={s.frame} style={{ "--tracks": tracks } as React.CSSProperties}>
      {props.over}
      <div
        ref={scroller}
        className={s.scroller}
        role="grid"
        aria-label={label}
        aria-rowcount={rows.length + 1}
        aria-multiselectable={onSelect ? true : undefined}
        aria-activedescendant={cursor && items.some((item) => item.index === at) ? rowName(cursor.id) : undefined}
        aria-busy={props.isDimmed || undefined}
        tabIndex={0}
        data-scroll-restoration-id={label}
      >
        <div className={s.head} role="row" aria-rowindex={1}>
          {onSelect && (
            <span role="columnheader">
              <span className="visually-hidden">Selected</span>
            </span>
          )}
          {columns.map((column) => (
            <span key={column.name} role="columnheader" className={column.isNumeric ? s.numeric : undefined}>
              {column.name}
            </span>
          ))}
        </div>
        <div role="rowgroup" className={props.isDimmed ? s.dimmed : s.body} style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const row = rows[item.index];
            if (!row) return null;
            return (
              <GridRow
                key={item.key}
                row={row}
                name={props.nameOf(row)}
                columns={columns}
                at={item.index}
                startPx={item.start}
                heightPx={rowPx}
                isCursor={row.id === cursorId}
                isSelected={onSelect ? (selected?.has(row.id) ?? false) : undefined}
                onClick={(event) => click(row, event)}
                onPoint={() => setCursorId(row.id)}
                onSelect={(isRange) => select(row.id, isRange)}
              />
            );
          })}
        </div>
        {props.after && <div className={s.after}>{props.after}</div>}
      </div>
    </div>
  );
}
