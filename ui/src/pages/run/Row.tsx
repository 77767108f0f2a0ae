import {
  Bot,
  ChevronRight,
  CirclePlay,
  CodeXml,
  Globe,
  Hourglass,
  type LucideIcon,
  MailQuestionMark,
  Moon,
  Send,
  Workflow,
} from "lucide-react";
import { type CSSProperties, memo } from "react";
import { StatusDot } from "~/parts/StatusBadge";
import type { Frame } from "./frame";
import type { Line, Segment } from "./layout";
import { Ticking } from "./Ticking";
import s from "./Waterfall.module.css";
import { clock, opWords, withClocks } from "./words";

const ICONS: Record<string, LucideIcon> = {
  "step.run": CodeXml,
  "step.sleep": Moon,
  "step.waitForEvent": MailQuestionMark,
  "step.waitForSignal": Hourglass,
  "step.invoke": Workflow,
  "step.sendEvent": Send,
  "step.fetch": Globe,
  "step.ai.infer": Bot,
};

type Props = {
  line: Line;
  frame: Frame;
  top: number;
  index: number;
  count: number;
  isChosen: boolean;
  isActive: boolean;
  onSelect: (id: string) => void;
  onToggle: (line: Line) => void;
  onActive: (key: string) => void;
};

/** One line of the waterfall: what it is, and its bar. */
export const Row = memo(function Row(props: Props) {
  const { line, frame, top, index, count, isChosen, isActive, onSelect, onToggle, onActive } = props;
  const { group, item, kind, segments } = line;
  const status = kind === "group" ? group.status : (line.span?.segment.status ?? item.status);
  const last = segments.at(-1);
  const from = kind === "group" && group.items.length > 1 ? segments[0]?.from : last?.from; // an attempt begins after its wait
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the tree around it has the keys
    <div
      id={`line-${line.key}`}
      className={s.row}
      role="treeitem"
      tabIndex={-1}
      aria-level={line.depth + 1}
      aria-posinset={index + 1}
      aria-setsize={count}
      aria-selected={isChosen}
      aria-expanded={line.isOpen ?? undefined}
      data-active={isActive || undefined}
      data-replay={group.isReplay || undefined}
      style={{ transform: `translateY(${top}px)` }}
      onClick={() => {
        onActive(line.key);
        onSelect(line.id);
      }}
    >
      <div className={s.label} style={{ "--depth": line.depth }}>
        {line.isOpen === null ? (
          <span className={s.chevron} />
        ) : (
          // biome-ignore lint/a11y/noStaticElementInteractions: a target for the pointer; the arrow keys do the same
          // biome-ignore lint/a11y/useKeyWithClickEvents: see above
          <span
            className={s.chevron}
            data-open={line.isOpen || undefined}
            onClick={(event) => {
              event.stopPropagation();
              onToggle(line);
            }}
          >
            <ChevronRight size={14} aria-hidden />
          </span>
        )}
        <Name line={line} />
        {kind === "group" && group.items.length > 1 && (
          <span className={s.badge} title={`${group.items.length} attempts`}>
            ×{group.items.length}
          </span>
        )}
        <Note line={line} />
        <span className={s.time}>{last && <Ticking frame={frame} from={from ?? 0} to={last.to} />}</span>
        <StatusDot status={status} />
      </div>
      <div className={s.track} aria-hidden>
        {segments.map((segment) => (
          <Bar key={`${segment.pattern}${segment.from}`} segment={segment} isThin={kind === "span"} />
        ))}
      </div>
    </div>
  );
});

function Name({ line: { kind, group, item, span } }: { line: Line }) {
  if (kind === "span" && span) return <span className={s.span}>{span.span.name}</span>;
  if (kind === "attempt") {
    const started = item.row.started_at ?? item.row.due_at;
    return (
      <span className={s.attempt}>
        {item.number === null ? opWords(item.row.op) : `Attempt ${item.number}`}
        {started && <time dateTime={started}>{clock(started)}</time>}
      </span>
    );
  }
  const Icon = group.op === null ? CirclePlay : (ICONS[group.op] ?? CodeXml);
  return (
    <>
      <Icon className={s.icon} size={14} strokeWidth={1.75} aria-label={opWords(group.op)} />
      <span className={s.title}>{group.title}</span>
    </>
  );
}

/** The error of an attempt, or why it isn't running; of a step that has more rows, those say it. */
function Note({ line: { kind, isOpen, item, group } }: { line: Line }) {
  if (kind === "span" || (kind === "group" && isOpen && group.items.length > 1)) return <span className={s.note} />;
  if (item.row.error_line) {
    return (
      <span className={s.error} title={item.row.error_line}>
        {item.row.error_line}
      </span>
    );
  }
  return (
    <span className={s.note} title={item.row.waiting ?? undefined}>
      {(item.row.waiting && withClocks(withoutStep(item.row.waiting))) ?? (group.isReplay ? "asked what is next" : "")}
    </span>
  );
}

/** What is said of a step, on its own line. */
function withoutStep(sentence: string): string {
  return sentence.replace(/^step '[^']*':? /, "");
}

function Bar({ segment, isThin }: { segment: Segment; isThin: boolean }) {
  const style: CSSProperties = { "--s": segment.from, "--e": segment.to ?? "var(--now)" };
  return (
    <i
      className={s.bar}
      data-pattern={segment.pattern}
      data-status={segment.status}
      data-thin={isThin || undefined}
      data-live={segment.to === null || undefined}
      style={style}
    />
  );
}
