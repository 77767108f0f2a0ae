import { useMemo, useSyncExternalStore } from "react";
import type { Durations } from "~/api/api.gen";
import { durationText } from "~/parts/duration";
import type { Frame } from "./frame";
import type { Model } from "./layout";
import s from "./Split.module.css";
import { PARTS, type Part, splitTime } from "./splitTime";

const WORDS: Record<Part, string> = {
  code: "your code",
  waiting: "waiting",
  sleeping: "sleeping",
  queued: "queued",
  overhead: "overhead",
};

/** How often the split of a run that goes on is counted anew. */
const ROUND_MS = 500;

/** Where a run's time went, as a bar and in numbers. */
export function Split({ model, frame, durations }: { model: Model; frame: Frame; durations: Durations }) {
  const now = useSyncExternalStore(frame.subscribe, () => model.end ?? Math.ceil(frame.now / ROUND_MS) * ROUND_MS);
  const sum = model.end === null ? splitTime(model, now) : ended(durations);
  const whole = Math.max(1, now);
  const sleep = useMemo(() => sleepWords(model), [model]);
  const shown = PARTS.filter((part) => sum[part] >= 0.5);
  return (
    <section className={s.split} aria-label="Where the time went">
      <div className={s.bar} aria-hidden>
        {shown.map((part) => (
          <i key={part} data-part={part} style={{ width: `${(sum[part] / whole) * 100}%` }} />
        ))}
      </div>
      <ul className={s.legend}>
        {shown.map((part) => (
          <li key={part}>
            <i data-part={part} aria-hidden /> {part === "sleeping" ? sleep : WORDS[part]}{" "}
            <strong>{durationText(sum[part])}</strong>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Between attempts a run sleeps, too; say so where that is what it did. */
function sleepWords({ groups }: Model): string {
  const all = groups.flatMap(({ items }) => items.flatMap(({ segments }) => segments));
  const hasSlept = all.some(({ pattern }) => pattern === "sleep");
  const hasRetried = all.some(({ pattern, status }) => pattern === "wait" && status === "retrying");
  if (!hasRetried) return WORDS.sleeping;
  return hasSlept ? "sleeping and between attempts" : "between attempts";
}

/** The server's own count, which knows more: since when each attempt was queued. */
function ended(durations: Durations): Record<Part, number> {
  const { code_ms, waiting_ms, sleeping_ms, queued_ms, overhead_ms } = durations;
  return { code: code_ms, waiting: waiting_ms, sleeping: sleeping_ms, queued: queued_ms, overhead: overhead_ms };
}
