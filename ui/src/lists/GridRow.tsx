// biome-ignore-all lint/a11y/useSemanticElements: of a table's rows, a browser can't have only those that are seen
// biome-ignore-all lint/a11y/useFocusableInteractive: the grid has the focus, and says which row is meant
import type { MouseEvent, ReactNode } from "react";
import s from "./Grid.module.css";
import type { Row } from "./merge";

export interface Column<T> {
  name: string;
  /** A track of the CSS grid. */
  width: string;
  /** Where the cell stands on a phone's card: `lead`, `title`, `side`, `under`, `aside`. */
  area?: string;
  isNumeric?: boolean;
  cell: (row: T) => ReactNode;
}

type Props<T extends Row> = {
  row: T;
  name: string;
  columns: readonly Column<T>[];
  at: number;
  startPx: number;
  heightPx: number;
  isCursor: boolean;
  /** Undefined where rows can't be selected. */
  isSelected: boolean | undefined;
  onClick: (event: MouseEvent) => void;
  onPoint: () => void;
  onSelect: (isRange: boolean) => void;
};

export function GridRow<T extends Row>(props: Props<T>) {
  const { row, name, isSelected } = props;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the grid has the keys
    <div
      id={rowName(row.id)}
      className={s.row}
      role="row"
      aria-label={name}
      aria-rowindex={props.at + 2}
      aria-selected={isSelected}
      data-cursor={props.isCursor || undefined}
      data-row={row.id}
      style={{ transform: `translateY(${props.startPx}px)`, height: props.heightPx }}
      onClick={props.onClick}
      onMouseDown={props.onPoint}
    >
      {isSelected !== undefined && (
        <span role="gridcell" className={s.check}>
          <input
            type="checkbox"
            tabIndex={-1}
            checked={isSelected}
            aria-label={`Select ${name}`}
            onChange={nothing}
            onClick={(event) => props.onSelect(event.shiftKey)}
          />
        </span>
      )}
      {props.columns.map((column) => (
        <span
          key={column.name}
          role="gridcell"
          className={column.isNumeric ? `${s.cell} ${s.numeric}` : s.cell}
          data-area={column.area}
        >
          {column.cell(row)}
        </span>
      ))}
    </div>
  );
}

export function rowName(id: string): string {
  return `row-${id}`;
}

function nothing() {}
