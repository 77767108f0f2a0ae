import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { Code, Copy, Send, TriangleAlert } from "lucide-react";
import { useMemo } from "react";
import type { EventDetail, EventExplanation, Json } from "~/api/api.gen";
import { read } from "~/api/query";
import { useSession } from "~/api/session";
import { functionNames } from "~/lists/triggers";
import { codeOf, LANGUAGE_NAMES } from "~/pages/send/code";
import type { Language } from "~/pages/send/search";
import { Button } from "~/parts/Button";
import { copy } from "~/parts/CopyButton";
import { JsonView } from "~/parts/code/JsonView";
import { ErrorState, Skeleton } from "~/parts/ErrorState";
import { Page } from "~/parts/Page";
import { toast } from "~/parts/toast";
import { Up } from "~/parts/Up";
import { useKeys } from "~/parts/useKeys";
import { asSent, isEmpty } from "./copies";
import { Facts } from "./Facts";
import s from "./index.module.css";
import { Outcomes } from "./Outcomes";
import { useEvent } from "./useEvent";
import { Waits } from "./Waits";

export function EventPage() {
  const { id } = useParams({ from: "/events/$id" });
  const { event, explained } = useEvent(id);
  const functions = useQuery(read("GET /api/functions", {})).data?.items;
  const names = useMemo(() => functionNames(functions), [functions]);
  if (event.error) {
    return (
      <Page title="Event">
        <ErrorState error={event.error} retry={() => void event.refetch()}>
          <Link to="/events">To the events</Link>
        </ErrorState>
      </Page>
    );
  }
  if (!event.data) {
    return (
      <Page title="Event">
        <Skeleton lines={12} />
      </Page>
    );
  }
  const { data } = event;
  return (
    <Page
      title={data.name}
      head={
        <div className={s.title}>
          <Up to="/events" name="Events" />
          <h1>{data.name}</h1>
        </div>
      }
      actions={<Actions event={data} />}
    >
      {explained.data && <NearNames explained={explained.data} />}
      <div className={s.columns}>
        <div className={s.column}>
          <Payload name="Data" value={data.data} />
          {!isEmpty(data.user) && <Payload name="User" value={data.user} />}
          {!isEmpty(data.meta) && <Payload name="Meta" value={data.meta} />}
        </div>
        <div className={s.column}>
          <Facts event={data} />
          {explained.data ? (
            <Outcomes explained={explained.data} names={names} />
          ) : explained.error ? (
            <ErrorState error={explained.error} retry={() => void explained.refetch()} />
          ) : (
            <Skeleton lines={5} />
          )}
          <Waits waits={data.resolved_waits} names={names} />
        </div>
      </div>
    </Page>
  );
}

function Actions({ event }: { event: EventDetail }) {
  const navigate = useNavigate();
  const session = useSession();
  const sendAgain = () => void navigate({ to: "/send", search: { event: event.id } });
  const copyAs = async (language: Language) => {
    const server = { url: session?.url ?? location.origin, isDev: session?.mode !== "start" };
    if (await copy(codeOf(language, [asSent(event)], server))) toast(`Copied as ${LANGUAGE_NAMES[language]}`);
  };
  const curl = () => copyAs("curl");
  const python = () => copyAs("python");
  useKeys({
    u: { does: "Copy as curl", act: curl },
    p: { does: "Copy as Python", act: python },
    r: { does: "Send it again", act: sendAgain },
  });
  return (
    <>
      <Button hotkey="u" onClick={curl}>
        <Copy size={13} aria-hidden /> Copy as curl
      </Button>
      <Button hotkey="p" onClick={python}>
        <Code size={13} aria-hidden /> Copy as Python
      </Button>
      <Button hotkey="r" look="primary" onClick={sendAgain}>
        <Send size={13} aria-hidden /> Send again
      </Button>
    </>
  );
}

/** A name that no trigger has is mostly a slip of the pen. */
function NearNames({ explained }: { explained: EventExplanation }) {
  if (explained.functions.length > 0 || explained.is_awaited) return null;
  return (
    <p className={s.warning} role="note">
      <TriangleAlert size={14} aria-hidden />
      <span>
        No function has a trigger of the name <code>{explained.name}</code>.{" "}
        {explained.near.length > 0 && (
          <>
            Did you mean{" "}
            {explained.near.map((name, at) => (
              <span key={name}>
                {at > 0 && " or "}
                <code>{name}</code>
              </span>
            ))}
            ?
          </>
        )}
      </span>
    </p>
  );
}

function Payload({ name, value }: { name: string; value: Json }) {
  return (
    <section className={s.payload} aria-labelledby={`event-${name}`}>
      <h2 id={`event-${name}`}>{name}</h2>
      <JsonView text={JSON.stringify(value)} label={name} />
    </section>
  );
}
