// Where a run's time went: each instant counts once, for the first of these that is true of it.
import type { Model, Pattern } from "./layout";

export const PARTS = ["code", "waiting", "sleeping", "queued", "overhead"] as const;
export type Part = (typeof PARTS)[number];

const PART_OF: Record<Pattern, Exclude<Part, "overhead">> = {
  work: "code",
  wait: "waiting",
  sleep: "sleeping",
  queued: "queued",
};

/** How long each part took so far, in ms; together they are `now`. */
export function splitTime(model: Model, now: number): Record<Part, number> {
  const end = model.end ?? now;
  const sum: Record<Part, number> = { code: 0, waiting: 0, sleeping: 0, queued: 0, overhead: 0 };
  const edges: { at: number; part: Exclude<Part, "overhead">; by: 1 | -1 }[] = [];
  for (const group of model.groups) {
    for (const item of group.items) {
      for (const { pattern, status, from, to } of item.segments) {
        const part = status === "retrying" && pattern === "wait" ? "sleeping" : PART_OF[pattern]; // as the server counts it
        const last = Math.min(to ?? end, end);
        if (last <= from) continue;
        edges.push({ at: from, part, by: 1 }, { at: last, part, by: -1 });
      }
    }
  }
  edges.sort((a, b) => a.at - b.at);
  const open = { code: 0, waiting: 0, sleeping: 0, queued: 0 };
  let at = 0;
  const count = (until: number) => {
    const part = PARTS.find((it) => it !== "overhead" && open[it] > 0) ?? "overhead";
    sum[part] += Math.max(0, until - at);
    at = Math.max(at, until);
  };
  for (const edge of edges) {
    count(edge.at);
    open[edge.part] += edge.by;
  }
  count(end);
  return sum;
}
