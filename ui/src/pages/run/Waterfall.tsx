import { useVirtualizer } from "@tanstack/react-virtual";
import { type PointerEvent, useEffect, useRef, useState } from "react";
import { durationText } from "~/parts/duration";
import { usePartKeys } from "~/parts/useKeys";
import { Axis } from "./Axis";
import type { Frame } from "./frame";
import type { Line } from "./layout";
import { Row } from "./Row";
import s from "./Waterfall.module.css";

export const ROW_PX = 28;
const AXIS_PX = 26;

type Props = {
  lines: Line[];
  frame: Frame;
  /** The id of the row that the pane is about. */
  selected: string | undefined;
  /** Where the part begins that was zoomed to; undefined: all is shown. */
  zoomedTo: number | undefined;
  onSelect: (id: string) => void;
  onToggle: (line: Line) => void;
  /** The pointer is over this instant (Unix ms); null: over none. */
  onHover: (at: number | null) => void;
};

/** A run's steps and attempts over time. Only the rows in view are in the document. */
export function Waterfall({ lines, frame, selected, zoomedTo, onSelect, onToggle, onHover }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const cursor = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState<string | null>(null);
  const virtual = useVirtualizer({
    count: lines.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
    paddingStart: AXIS_PX,
    scrollPaddingStart: AXIS_PX,
    getItemKey: (index) => lines[index]?.key ?? index,
  });
  useEffect(() => (box.current ? frame.attach(box.current) : undefined), [frame]);

  const chosen = lines.findIndex((line) => isChosen(line, selected));
  const shown = useRef<string | undefined>(undefined);
  useEffect(() => {
    if (selected === shown.current || chosen < 0) return;
    shown.current = selected;
    virtual.scrollToIndex(chosen, { align: "auto" });
  }, [selected, chosen, virtual]);

  const latest = useRef(lines);
  useEffect(() => {
    latest.current = lines;
  });
  useEffect(() => {
    if (zoomedTo === undefined) return;
    const first = latest.current.findIndex(({ segments }) => segments.some(({ from }) => from >= zoomedTo));
    if (first >= 0) virtual.scrollToIndex(first, { align: "start" });
  }, [zoomedTo, virtual]);

  const at = Math.max(
    0,
    lines.findIndex((line) => line.key === active),
  );
  const go = (index: number) => {
    const line = lines[Math.min(lines.length - 1, Math.max(0, index))];
    if (!line) return;
    setActive(line.key);
    virtual.scrollToIndex(lines.indexOf(line), { align: "auto" });
  };
  const line = lines[at];
  const pageRows = Math.floor((box.current?.clientHeight ?? 400) / ROW_PX) - 2;
  const onKeyDown = usePartKeys("In the waterfall", {
    arrowdown: { does: "Next, previous", act: () => go(active === null ? 0 : at + 1) },
    arrowup: { does: "Next, previous", act: () => go(at - 1) },
    arrowright: {
      does: "Expand, collapse; or to the next, to its step",
      act: () => (line?.isOpen === false ? onToggle(line) : go(at + 1)),
    },
    arrowleft: {
      does: "Expand, collapse; or to the next, to its step",
      act: () => (line?.isOpen ? onToggle(line) : go(parentOf(lines, at))),
    },
    enter: { does: "Show the details", act: () => line && onSelect(line.id) },
    pagedown: { does: "A page down, a page up", act: () => go(at + pageRows) },
    pageup: { does: "A page down, a page up", act: () => go(at - pageRows) },
    home: { does: "First, last", act: () => go(0) },
    end: { does: "First, last", act: () => go(lines.length - 1) },
  });
  const onPointerMove = (event: PointerEvent) => {
    const line = cursor.current;
    const track = line?.parentElement?.getBoundingClientRect();
    if (!line || !track) return;
    const x = event.clientX - track.left;
    const isOver = event.pointerType !== "touch" && x >= 0 && x <= track.width;
    line.hidden = !isOver;
    if (!isOver) return onHover(null);
    const { from, to } = frame.window;
    const offset = from + (x / track.width) * (to - from);
    line.style.transform = `translateX(${x}px)`;
    line.dataset.at = durationText(Math.max(0, offset));
    line.dataset.side = x > track.width - 90 ? "left" : "right";
    onHover(frame.instant(offset));
  };
  const onPointerLeave = () => {
    if (cursor.current) cursor.current.hidden = true;
    onHover(null);
  };

  return (
    <div
      ref={box}
      className={s.box}
      role="tree"
      aria-label="Steps"
      aria-activedescendant={active ? `line-${active}` : undefined}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onPointerMove={onPointerMove}
      onPointerLeave={onPointerLeave}
    >
      <Axis frame={frame} height={AXIS_PX} cursor={cursor} />
      <div className={s.rows} style={{ height: virtual.getTotalSize() - AXIS_PX }} role="presentation">
        {virtual.getVirtualItems().map((item) => {
          const line = lines[item.index];
          if (!line) return null;
          return (
            <Row
              key={line.key}
              line={line}
              frame={frame}
              top={item.start - AXIS_PX}
              index={item.index}
              count={lines.length}
              isChosen={isChosen(line, selected)}
              isActive={line.key === active}
              onSelect={onSelect}
              onToggle={onToggle}
              onActive={setActive}
            />
          );
        })}
      </div>
    </div>
  );
}

/** An open step stands for its attempts: of these, one is chosen. */
function isChosen(line: Line, selected: string | undefined): boolean {
  if (line.id !== selected) return false;
  return line.kind !== "group" || line.isOpen !== true || line.group.items.length === 1;
}

function parentOf(lines: Line[], at: number): number {
  const depth = lines[at]?.depth ?? 0;
  let index = at;
  while (index > 0 && (lines[index]?.depth ?? 0) >= depth && depth > 0) index -= 1;
  return index;
}
