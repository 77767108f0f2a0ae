import { useMemo, useState } from "react";
import type { TriggerView } from "~/api/api.gen";
import { Button } from "~/parts/Button";
import { JsonView } from "~/parts/code/JsonView";
import { Time } from "~/parts/Time";
import s from "./function.module.css";
import { type Sentence, sentences } from "./sentences";

type Props = { config: unknown; triggers: TriggerView[] };

/** What the app has registered: in words, and beside them as it came. */
export function Configuration({ config, triggers }: Props) {
  const [isRaw, setRaw] = useState(false);
  const said = useMemo(() => sentences(config), [config]);
  const fires = triggers.filter((trigger) => trigger.next_at !== null);
  return (
    <section className={s.card} aria-label="Configuration">
      <div className={s.cardHead}>
        <h2>Configuration</h2>
        <Button look="ghost" aria-expanded={isRaw} onClick={() => setRaw(!isRaw)}>
          {isRaw ? "Hide JSON" : "As JSON"}
        </Button>
      </div>
      <div className={isRaw ? s.columns : undefined}>
        <dl className={s.said}>
          {said.map(({ topic, sentences }) => (
            <div key={topic}>
              <dt>{topic}</dt>
              <dd>
                {sentences.map((sentence) => (
                  <Words key={JSON.stringify(sentence)} sentence={sentence} />
                ))}
              </dd>
            </div>
          ))}
          {fires.map((trigger) => (
            <div key={trigger.cron}>
              <dt>Next time</dt>
              <dd>
                <p>
                  <Time at={trigger.next_at ?? ""} />, {local(trigger.next_at ?? "")}
                  {fires.length > 1 && <code> {trigger.cron}</code>}
                </p>
              </dd>
            </div>
          ))}
        </dl>
        {isRaw && <JsonView text={JSON.stringify(config)} label="Configuration as JSON" />}
      </div>
    </section>
  );
}

function Words({ sentence }: { sentence: Sentence }) {
  return (
    <p>
      {sentence.map((part, at) =>
        // biome-ignore lint/suspicious/noArrayIndexKey: the pieces of a sentence never move
        typeof part === "string" ? part : <code key={at}>{part.code}</code>,
      )}
    </p>
  );
}

function local(at: string): string {
  return new Date(at).toLocaleString(undefined, { dateStyle: "full", timeStyle: "short" });
}
