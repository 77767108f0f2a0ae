import { useSyncExternalStore } from "react";
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
export function Split({ model, frame }: { model: Model; frame: Frame }) {
  const now = useSyncExternalStore(frame.subscribe, () => model.end ?? Math.ceil(frame.now / ROUND_MS) * ROUND_MS);
  const sum = splitTime(model, now);
  const whole = Math.max(1, now);
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
            <i data-part={part} aria-hidden /> {WORDS[part]} <strong>{durationText(sum[part])}</strong>
          </li>
        ))}
      </ul>
    </section>
  );
}
