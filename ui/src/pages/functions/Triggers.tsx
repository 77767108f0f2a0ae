import { CalendarClock, Zap } from "lucide-react";
import type { TriggerView } from "~/api/api.gen";
import { Tooltip } from "~/parts/Tooltip";
import s from "./Triggers.module.css";

/** What starts a function, as pills; of more than `most`, how many there are besides. */
export function Triggers({ triggers, most = 3 }: { triggers: TriggerView[]; most?: number }) {
  if (triggers.length === 0) return <span className={s.none}>invoke only</span>;
  const rest = triggers.slice(most);
  return (
    <span className={s.pills}>
      {triggers.slice(0, most).map((trigger) => (
        <Pill key={words(trigger)} trigger={trigger} />
      ))}
      {rest.length > 0 && (
        <Tooltip text={rest.map(words).join(", ")}>
          <span className={s.pill}>+{rest.length}</span>
        </Tooltip>
      )}
    </span>
  );
}

function Pill({ trigger }: { trigger: TriggerView }) {
  const Icon = trigger.cron ? CalendarClock : Zap;
  return (
    <span className={s.pill} title={words(trigger)}>
      <Icon size={11} strokeWidth={2} aria-hidden />
      <span className={s.name}>{trigger.cron ?? trigger.event}</span>
      {trigger.expression && <em className={s.if}>if</em>}
    </span>
  );
}

function words({ event, cron, expression }: TriggerView): string {
  if (cron) return cron;
  return expression ? `${event} if ${expression}` : (event ?? "");
}
