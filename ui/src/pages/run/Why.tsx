import { Link } from "@tanstack/react-router";
import { Info, Unlock } from "lucide-react";
import { useMemo } from "react";
import type { Explanation, ReasonView } from "~/api/api.gen";
import { useNow } from "~/parts/Time";
import s from "./Why.module.css";
import { withClocks } from "./words";

/** How many reasons are shown: a run may have a thousand steps open, for the same reason. */
const SHOWN = 3;

/** What would release it, where the sentence says that already. */
const SAID = /^(that time|nothing|the answer|the end of that step)|, or the time-out$/;

/** Why a run isn't running, in a sentence, with links to what holds it up and what would let it go on. */
export function Why({ why }: { why: Explanation }) {
  const { reasons } = why;
  const now = useServerNow(why);
  const rest = reasons.length - SHOWN + why.left_out;
  return (
    <section className={s.why} data-status={statusOf(why)} aria-label="Why" aria-live="polite">
      <Info size={15} aria-hidden />
      <div className={s.words}>
        <p className={s.summary}>{withClocks(why.summary, now)}</p>
        {reasons.length > 0 && (
          <ul className={s.reasons}>
            {reasons.slice(0, SHOWN).map((reason) => (
              <Reason
                key={`${reason.step} ${reason.kind} ${reason.since}`}
                reason={reason}
                summary={why.summary}
                now={now}
              />
            ))}
          </ul>
        )}
        {rest > 0 && <p className={s.rest}>and {rest} more</p>}
      </div>
    </section>
  );
}

function Reason({ reason, summary, now }: { reason: ReasonView; summary: string; now: number }) {
  const isSaid = summary.includes(reason.text);
  const release = SAID.test(reason.release) ? "" : reason.release;
  const blockers = blockersOf(reason);
  if (isSaid && blockers.length === 0 && !release) return null;
  return (
    <li>
      {!isSaid && (
        <span>
          {reason.step && <strong>{reason.step}: </strong>}
          {withClocks(reason.text, now)}
        </span>
      )}
      {blockers.length > 0 && (
        <span className={s.links}>
          {reason.limit ? `In use by ${reason.limit.in_use === 1 ? "run" : `${reason.limit.in_use} runs`}` : "Run"}
          {blockers.map(({ id, words }) => (
            <Link key={id} to="/runs/$id" params={{ id }} title={id}>
              {words}
            </Link>
          ))}
        </span>
      )}
      {release && (
        <span className={s.release}>
          <Unlock size={12} aria-hidden /> Goes on with {release}
        </span>
      )}
    </li>
  );
}

/** The time by the server's clock, which may have been put forward: each second. */
function useServerNow({ now }: Explanation): number {
  const aheadMs = useMemo(() => Date.parse(now) - Date.now(), [now]);
  return Math.max(Date.parse(now), useNow() + aheadMs);
}

function blockersOf({ run, limit }: ReasonView): { id: string; words: string }[] {
  if (run) return [{ id: run.id, words: `${run.function} (${run.status})` }];
  return (limit?.used_by ?? []).map((id) => ({ id, words: `…${id.slice(-6)}` }));
}

function statusOf({ status, reasons }: Explanation): string {
  if (reasons.length === 0) return status;
  const kinds = new Set(reasons.map((reason) => reason.kind));
  if (kinds.has("call") || kinds.has("fetch") || kinds.has("app")) return "running";
  if (kinds.has("timer")) return "sleeping";
  return kinds.has("queue") ? "queued" : "waiting";
}
