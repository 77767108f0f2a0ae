import { Pause } from "lucide-react";
import type { FunctionDetail } from "~/api/api.gen";
import { Time } from "~/parts/Time";
import { Up } from "~/parts/Up";
import s from "./function.module.css";

export function Head({ fn }: { fn: FunctionDetail }) {
  return (
    <div className={s.head}>
      <Up to="/functions" name="Functions" />
      <h1>{fn.name}</h1>
      {fn.pause && (
        <span className={s.paused} title={pauseWords(fn.pause)}>
          <Pause size={10} fill="currentColor" aria-hidden />
          paused <Time at={fn.pause.since} />
        </span>
      )}
      {fn.is_archived && <span className={s.archived}>no app has it any more</span>}
      <span className={s.facts}>
        {fn.slug} · {fn.app} · version {fn.version}
      </span>
    </div>
  );
}

function pauseWords({ mode, runs_under_way }: NonNullable<FunctionDetail["pause"]>): string {
  const news = mode === "hold" ? "New runs wait until it is resumed" : "New runs are skipped";
  return `${news}; those under way ${runs_under_way === "stop" ? "stand still" : "go on"}.`;
}
