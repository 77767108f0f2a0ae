import { Link } from "@tanstack/react-router";
import { Info, Unlock } from "lucide-react";
import type { Explanation, ReasonView } from "~/api/api.gen";
import s from "./Why.module.css";
import { withClocks } from "./words";

/** How many reasons are shown: a run may have a thousand steps open, for the same reason. */
const SHOWN = 3;

/** Why a run isn't running, in a sentence, with links to what holds it up and what would let it go on. */
export function Why({ why }: { why: Explanation }) {
  const { reasons } = why;
  const rest = reasons.length - SHOWN + why.left_out;
  return (
    <section className={s.why} data-status={statusOf(why)} aria-label="Why" aria-live="polite">
      <Info size={15} aria-hidden />
      <div className={s.words}>
        <p className={s.summary}>{withClocks(why.summary)}</p>
        {reasons.length > 0 && (
          <ul className={s.reasons}>
            {reasons.slice(0, SHOWN).map((reason) => (
              <Reason key={`${reason.step} ${reason.kind} ${reason.since}`} reason={reason} summary={why.summary} />
            ))}
          </ul>
        )}
        {rest > 0 && <p className={s.rest}>and {rest} more</p>}
      </div>
    </section>
  );
}

function Reason({ reason, summary }: { reason: ReasonView; summary: string }) {
  const isSaid = summary.includes(reason.text);
  const release = reason.kind === "timer" ? "" : reason.release; // when it ends is said already
  const blockers = blockersOf(reason);
  if (isSaid && blockers.length === 0 && !release) return null;
  return (
    <li>
      {!isSaid && (
        <span>
          {reason.step && <strong>{reason.step}: </strong>}
          {withClocks(reason.text)}
        </span>
      )}
      {blockers.length > 0 && (
        <span className={s.links}>
          {reason.limit ? `in use by ${reason.limit.in_use === 1 ? "run" : `${reason.limit.in_use} runs`}` : "run"}
          {blockers.map(({ id, words }) => (
            <Link key={id} to="/runs/$id" params={{ id }}>
              {words}
            </Link>
          ))}
        </span>
      )}
      {release && (
        <span className={s.release}>
          <Unlock size={12} aria-hidden /> goes on with {withClocks(release)}
        </span>
      )}
    </li>
  );
}

function blockersOf({ run, limit }: ReasonView): { id: string; words: string }[] {
  if (run) return [{ id: run.id, words: `${run.function} (${run.status})` }];
  return (limit?.used_by ?? []).map((id) => ({ id, words: id }));
}

function statusOf({ status, reasons }: Explanation): string {
  if (reasons.length === 0) return status;
  const kinds = new Set(reasons.map((reason) => reason.kind));
  if (kinds.has("call") || kinds.has("fetch") || kinds.has("app")) return "running";
  if (kinds.has("timer")) return "sleeping";
  return kinds.has("queue") ? "queued" : "waiting";
}
