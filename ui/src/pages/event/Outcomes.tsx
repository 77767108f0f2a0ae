// What an event did at each function: the runs it started, and why the others didn't start.
import { Link } from "@tanstack/react-router";
import type { EventExplanation, OutcomeView } from "~/api/api.gen";
import { many } from "~/lists/format";
import { Note } from "~/parts/ErrorState";
import { StatusBadge } from "~/parts/StatusBadge";
import { Time } from "~/parts/Time";
import s from "./Outcomes.module.css";

const KINDS: Record<OutcomeView["kind"], string> = {
  started: "started",
  gathered: "gathered",
  skipped: "skipped",
  no_match: "no match",
  no_run: "no run",
  archived: "archived",
};

/** `names` has functions' names by their slugs. */
export function Outcomes({ explained, names }: { explained: EventExplanation; names: ReadonlyMap<string, string> }) {
  const ran = explained.functions.filter((one) => one.run_id);
  const gathered = explained.functions.filter((one) => !one.run_id && one.kind === "gathered");
  const others = explained.functions.filter((one) => !one.run_id && one.kind !== "gathered");
  return (
    <>
      <section className={s.section} aria-labelledby="event-runs">
        <h2 id="event-runs">Runs</h2>
        {ran.length === 0 && (
          <p className={s.none}>
            {explained.is_awaited ? "It starts none: it is for runs that wait for it." : "It started none."}
          </p>
        )}
        <ul className={s.list}>
          {ran.map((one) => (
            <Started key={one.run_id} outcome={one} name={names.get(one.function)} />
          ))}
        </ul>
        {explained.left_out > 0 && <Note kind="partial">{many(explained.left_out, "more function")}.</Note>}
      </section>
      {gathered.length > 0 && (
        <section className={s.section} aria-labelledby="event-gathered">
          <h2 id="event-gathered">Waits with others</h2>
          <ul className={s.list}>
            {gathered.map((one) => (
              <Other key={one.function} outcome={one} name={names.get(one.function)} />
            ))}
          </ul>
        </section>
      )}
      {others.length > 0 && (
        <section className={s.section} aria-labelledby="event-others">
          <h2 id="event-others">Didn't start</h2>
          <ul className={s.list}>
            {others.map((one) => (
              <Other key={one.function} outcome={one} name={names.get(one.function)} />
            ))}
          </ul>
        </section>
      )}
    </>
  );
}

type OutcomeProps = { outcome: OutcomeView; name: string | undefined };

function Started({ outcome, name = outcome.function }: OutcomeProps) {
  return (
    <li className={s.outcome}>
      <div className={s.line}>
        {outcome.status && <StatusBadge status={outcome.status} />}
        <Link to="/runs/$id" params={{ id: outcome.run_id ?? "" }} className={s.function}>
          {name}
        </Link>
        <code className={s.id}>{outcome.run_id}</code>
      </div>
      {outcome.reason && <p className={s.why}>{outcome.text}</p>}
    </li>
  );
}

function Other({ outcome, name = outcome.function }: OutcomeProps) {
  return (
    <li className={s.outcome}>
      <div className={s.line}>
        <span className={s.kind}>{KINDS[outcome.kind]}</span>
        <Link to="/functions/$slug" params={{ slug: outcome.function }} className={s.function}>
          {name}
        </Link>
      </div>
      <p className={s.why}>{withoutTerm(outcome)}</p>
      {outcome.term && <code className={s.term}>{outcome.term}</code>}
      {outcome.fires_at && (
        <p className={s.why}>
          It starts <Time at={outcome.fires_at} />, at the latest.
        </p>
      )}
    </li>
  );
}

/** The words before the term, which is shown apart. */
function withoutTerm({ text, term }: OutcomeView): string {
  return term && text.endsWith(term) ? text.slice(0, -term.length).trimEnd().replace(/:$/, "") : text;
}
