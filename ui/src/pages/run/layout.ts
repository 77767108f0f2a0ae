// From a run's rows to what the waterfall draws: steps as groups, their attempts, the parts of each bar. No I/O, no clock.
// All times are ms from the run's start; null as an end means that it goes on.
import type { SpanView as Span, Timeline, TimelineRow } from "~/api/api.gen";
import type { Status } from "~/parts/StatusBadge";

/** `work`: user code or a request. `queued`: nothing keeps it but the queue. `wait`: an event, a signal, another run, the
 * delay before a retry. */
export type Pattern = "work" | "queued" | "wait" | "sleep";

export interface Segment {
  pattern: Pattern;
  status: Status;
  from: number;
  to: number | null;
}

/** One attempt, sleep, wait or call that is still to be made. */
export interface Item {
  id: string;
  row: TimelineRow;
  status: Status;
  /** 1 for the first attempt; null where attempts aren't counted. */
  number: number | null;
  segments: Segment[];
  spans: SpanItem[];
}

export interface SpanItem {
  id: string;
  span: Span;
  depth: number;
  segment: Segment;
}

/** A step with all its attempts, or a call of the function between steps with its. */
export interface Group {
  id: string;
  title: string;
  op: string | null;
  status: Status;
  items: Item[];
  /** It only asked the function what is next. */
  isReplay: boolean;
  hasError: boolean;
}

export interface Model {
  /** When the run was queued, in Unix ms: the zero of all times. */
  origin: number;
  /** When it ended; null while it goes on. */
  end: number | null;
  /** When the server answered. */
  now: number;
  groups: Group[];
  byId: Map<string, { group: Group; item: Item; span?: SpanItem }>;
  /** Of steps and of the function between them. */
  attempts: number;
  steps: number;
  errors: number;
}

const WAITS = new Set(["step.waitForEvent", "step.waitForSignal", "step.invoke"]);
const BAD = new Set(["failed", "lost", "retrying"]);

export function buildModel(timeline: Timeline, spans: readonly Span[] = []): Model {
  const origin = Date.parse(timeline.run.queued_at);
  const end = timeline.run.ended_at ? Date.parse(timeline.run.ended_at) - origin : null;
  const spansOf = nestSpans(spans, origin, new Set(timeline.rows.map((row) => row.id)));
  const groups: Group[] = [];
  const byStep = new Map<string, Group>();
  let calls: Group | null = null; // the latest call between steps, with its retries
  for (const row of timeline.rows) {
    let group: Group | null =
      row.step_id === null
        ? (retriedBy(row, groups) ?? (row.attempt ? calls : null))
        : (byStep.get(row.step_id) ?? null);
    if (!group) {
      group = newGroup(row);
      groups.push(group);
      if (row.step_id !== null) byStep.set(row.step_id, group);
    }
    if (row.step_id === null && group.op === null) calls = group;
    group.items.push(newItem(row, group.items.at(-1), origin, spansOf));
  }
  const byId: Model["byId"] = new Map();
  let attempts = 0;
  let errors = 0;
  for (const group of groups) {
    const last = group.items.at(-1);
    group.status = last?.status ?? "queued";
    group.hasError = group.items.some(isBad);
    group.isReplay =
      group.op === null && !group.hasError && !isLastCall(group, timeline) && group.status === "completed";
    for (const item of group.items) {
      if (item.number !== null) attempts += 1;
      if (isBad(item)) errors += 1;
      byId.set(item.id, { group, item });
      for (const span of item.spans) byId.set(span.id, { group, item, span });
    }
  }
  startQueued(groups, timeline, origin);
  const steps = byStep.size;
  return { origin, end, now: Date.parse(timeline.now) - origin, groups, byId, attempts, steps, errors };
}

/** The step for whose sake the function is called again: it failed in the call before, and waits for this one. */
function retriedBy(row: TimelineRow, groups: readonly Group[]): Group | null {
  if (row.kind !== "job" || row.started_at !== null || row.due_at === null) return null;
  const isOf = ({ op, items }: Group) => op !== null && items.at(-1)?.row.retry_at === row.due_at;
  return groups.find(isOf) ?? null;
}

function newGroup(row: TimelineRow): Group {
  return {
    id: row.step_id ?? row.id,
    title: row.title ?? (row.op ? row.op : "function"),
    op: row.step_id === null ? null : row.op,
    status: "queued",
    items: [],
    isReplay: false,
    hasError: false,
  };
}

function newItem(row: TimelineRow, before: Item | undefined, origin: number, spansOf: Map<string, SpanItem[]>): Item {
  const status = statusOf(row, before);
  return {
    id: row.id,
    row,
    status,
    number: row.attempt === null ? null : row.attempt + 1,
    segments: segmentsOf(row, status, before?.row, origin),
    spans: spansOf.get(row.id) ?? [],
  };
}

function statusOf(row: TimelineRow, before: Item | undefined): Status {
  if (row.status !== "waiting") return row.status;
  if (row.started_at !== null) return "waiting";
  return before?.row.status === "retrying" ? "retrying" : "queued";
}

function segmentsOf(row: TimelineRow, status: Status, before: TimelineRow | undefined, origin: number): Segment[] {
  const at = (time: string | null) => (time === null ? null : Date.parse(time) - origin);
  const started = at(row.started_at);
  const retried = before ? at(before.retry_at) : null;
  const segments: Segment[] = [];
  if (before && retried !== null) {
    const failed = at(before.ended_at) ?? retried;
    const isDue = started !== null || row.kind !== "job";
    segments.push({
      pattern: "wait",
      status: "retrying",
      from: failed,
      to: isDue ? Math.min(retried, started ?? retried) : null,
    });
    if (started !== null && started > retried)
      segments.push({ pattern: "queued", status: "queued", from: retried, to: started });
  }
  if (started !== null) segments.push({ pattern: patternOf(row), status, from: started, to: at(row.ended_at) });
  return segments;
}

function patternOf(row: TimelineRow): Pattern {
  if (row.kind === "sleep") return "sleep";
  return row.kind !== "attempt" && row.op !== null && WAITS.has(row.op) ? "wait" : "work";
}

function isBad(item: Item): boolean {
  return item.row.error_line !== null || (BAD.has(item.row.status) && item.row.ended_at !== null);
}

/** The call whose result is the run's. */
function isLastCall(group: Group, { run }: Timeline): boolean {
  return run.ended_at !== null && group.items.at(-1)?.row.ended_at === run.ended_at;
}

/** Draw what waits in the queue from where it can have come there: the run's start, or what ended last. */
function startQueued(groups: Group[], timeline: Timeline, origin: number) {
  let lastEnd = 0;
  for (const row of timeline.rows) if (row.ended_at) lastEnd = Math.max(lastEnd, Date.parse(row.ended_at) - origin);
  const first = groups[0]?.items[0];
  const begin = first?.segments[0];
  if (begin && begin.from > 0) first.segments.unshift({ pattern: "queued", status: "queued", from: 0, to: begin.from });
  for (const group of groups) {
    for (const item of group.items) {
      if (item.segments.length === 0) {
        item.segments.push({
          pattern: "queued",
          status: "queued",
          from: lastEnd,
          to: timeline.run.ended_at ? lastEnd : null,
        });
      }
    }
  }
}

/** Sort spans under the attempts that made them, each after its parent. */
function nestSpans(spans: readonly Span[], origin: number, rows: ReadonlySet<string>): Map<string, SpanItem[]> {
  const known = new Map(spans.map((span) => [span.id, span]));
  const children = new Map<string, Span[]>();
  const roots: Span[] = [];
  for (const span of [...spans].sort((a, b) => (a.started_at < b.started_at ? -1 : 1))) {
    if (span.parent_id !== null && known.has(span.parent_id) && span.parent_id !== span.id) {
      children.set(span.parent_id, [...(children.get(span.parent_id) ?? []), span]);
    } else {
      roots.push(span);
    }
  }
  const of = new Map<string, SpanItem[]>();
  const add = (span: Span, attempt: string, depth: number) => {
    const from = Date.parse(span.started_at) - origin;
    const to = from + span.duration_ms;
    const status: Status = span.status === "error" ? "failed" : "completed";
    const list = of.get(attempt) ?? [];
    list.push({ id: span.id, span, depth, segment: { pattern: "work", status, from, to } });
    of.set(attempt, list);
    for (const child of children.get(span.id) ?? []) add(child, attempt, depth + 1);
  };
  for (const root of roots) {
    if (root.attempt_id === null) continue;
    const first = `${root.attempt_id}.0`; // of a call that brought several steps, and has no row of its own
    add(root, rows.has(root.attempt_id) ? root.attempt_id : first, 0);
  }
  return of;
}

export interface Filter {
  text: string;
  errorsOnly: boolean;
  hidesReplays: boolean;
  /** What all groups are like, but those in `flipped`. */
  isFolded: boolean;
  flipped: ReadonlySet<string>;
}

/** One line of the waterfall. */
export interface Line {
  /** Unique among the lines. */
  key: string;
  /** The row, or span, that choosing this line shows. */
  id: string;
  kind: "group" | "attempt" | "span";
  depth: number;
  group: Group;
  item: Item;
  span: SpanItem | null;
  segments: Segment[];
  /** Null where there is nothing to expand. */
  isOpen: boolean | null;
}

/** The lines to show, in order: steps by their start, below each its attempts, below each of those its spans. */
export function flatten(groups: readonly Group[], filter: Filter): Line[] {
  const lines: Line[] = [];
  const text = filter.text.trim().toLowerCase();
  for (const group of groups) {
    if (filter.hidesReplays && group.isReplay) continue;
    if (filter.errorsOnly && !group.hasError) continue;
    if (text && !matches(group, text)) continue;
    addGroup(lines, group, filter);
  }
  return lines;
}

function addGroup(lines: Line[], group: Group, filter: Filter) {
  const last = group.items.at(-1);
  if (!last) return;
  const base = { group, item: last, span: null };
  const single = group.items.length === 1;
  const isFoldable = !single || last.spans.length > 0;
  const isOpen = isFoldable ? filter.isFolded === filter.flipped.has(group.id) : null;
  const segments = single ? last.segments : group.items.flatMap((item) => item.segments);
  lines.push({ ...base, key: group.id, id: last.id, kind: "group", depth: 0, segments, isOpen });
  if (!isOpen) return;
  for (const item of group.items) {
    if (!single) {
      if (filter.errorsOnly && !isBad(item)) continue;
      const line = { group, item, span: null, segments: item.segments, isOpen: null };
      lines.push({ ...line, key: `${group.id}/${item.id}`, id: item.id, kind: "attempt", depth: 1 });
    }
    for (const span of item.spans) {
      const depth = (single ? 1 : 2) + span.depth;
      const line = { group, item, span, segments: [span.segment], isOpen: null };
      lines.push({ ...line, key: `${item.id}/${span.id}`, id: span.id, kind: "span", depth });
    }
  }
}

function matches(group: Group, text: string): boolean {
  const has = (value: string | null) => value?.toLowerCase().includes(text) ?? false;
  return (
    has(group.title) ||
    has(group.op) ||
    group.items.some((item) => has(item.row.error_line) || item.spans.some((span) => has(span.span.name)))
  );
}
