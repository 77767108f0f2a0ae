import { useVirtualizer } from "@tanstack/react-virtual";
import { type Ref, useEffect, useImperativeHandle, useLayoutEffect, useRef, useState } from "react";
import { Line } from "./Line";
import s from "./logs.module.css";
import type { Tail } from "./tail";

const LINE_PX = 26;
/** So near the end counts as being there. */
const END_PX = 40;
const OLDER_AT_PX = 400;

export interface LinesHandle {
  toEnd: () => void;
}

type Props = {
  handle: Ref<LinesHandle>;
  tail: Tail;
  isFollowing: boolean;
  follow: (yes: boolean) => void;
  isLoadingOlder: boolean;
  loadOlder: () => void;
  /** Functions' names by their slugs. */
  names: ReadonlyMap<string, string>;
};

/** The lines, newest below. What comes in above or below never moves what one reads. */
export function Lines({ handle, tail, isFollowing, follow, isLoadingOlder, loadOlder, names }: Props) {
  const { lines, older } = tail;
  const scroller = useRef<HTMLDivElement>(null);
  const [opened, setOpened] = useState<ReadonlySet<string>>(new Set());
  const virtual = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => LINE_PX,
    getItemKey: (index) => lines[index]?.id ?? index,
    overscan: 20,
  });
  const toEnd = () => {
    const node = scroller.current;
    if (node) node.scrollTop = node.scrollHeight;
  };
  useImperativeHandle(handle, () => ({ toEnd }));

  // Lines that came in above push down what one reads: by as much one goes down.
  const firstId = useRef(lines[0]?.id);
  useLayoutEffect(() => {
    const before = firstId.current;
    firstId.current = lines[0]?.id;
    if (before === undefined || before === lines[0]?.id) return;
    const added = lines.findIndex((line) => line.id === before);
    if (added > 0 && scroller.current) scroller.current.scrollTop += added * LINE_PX;
  }, [lines]);
  const size = virtual.getTotalSize();
  // biome-ignore lint/correctness/useExhaustiveDependencies: with each change of the size, while one follows
  useLayoutEffect(() => {
    if (isFollowing) toEnd();
  }, [size, isFollowing]);
  useEffect(() => {
    const node = scroller.current;
    if (node && node.scrollHeight <= node.clientHeight) loadOlder(); // there is nothing to scroll yet
  });

  const scrolled = () => {
    const node = scroller.current;
    if (!node) return;
    const isAtEnd = node.scrollHeight - node.scrollTop - node.clientHeight < END_PX;
    if (isAtEnd !== isFollowing) follow(isAtEnd);
    if (node.scrollTop < OLDER_AT_PX && !isAtEnd) loadOlder();
  };
  const toggle = (id: string) =>
    setOpened((now) => {
      const next = new Set(now);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: one scrolls it by keys
    <section ref={scroller} className={s.scroller} onScroll={scrolled} aria-label="Lines" tabIndex={0}>
      <p className={s.edge}>
        {older === null ? "The beginning" : isLoadingOlder ? "Fetching older lines" : "Older lines above"}
      </p>
      <ol className={s.lines} style={{ height: size }}>
        {virtual.getVirtualItems().map((item) => {
          const line = lines[item.index];
          return (
            line && (
              <Line
                key={line.id}
                line={line}
                name={line.function && (names.get(line.function) ?? line.function)}
                index={item.index}
                top={item.start}
                measure={virtual.measureElement}
                isOpen={opened.has(line.id)}
                toggle={toggle}
              />
            )
          );
        })}
      </ol>
    </section>
  );
}
