import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useLive } from "~/api/live";
import { queryClient, read } from "~/api/query";
import { useSession } from "~/api/session";
import { CopyButton } from "~/parts/CopyButton";
import { ErrorState } from "~/parts/ErrorState";
import { Page } from "~/parts/Page";
import { Tabs } from "~/parts/Tabs";
import { Arrived } from "./Arrived";
import { Demo, demoQuery } from "./Demo";
import { SyncForm } from "./SyncForm";
import { KITS, type Kit } from "./search";
import { APP_URLS, KIT_NAMES, type Snippet, snippets } from "./snippets";
import s from "./welcome.module.css";

const appsQuery = read("GET /api/apps", {});
const functionsQuery = read("GET /api/functions", {});

/** The first five minutes: how to write a function, until one comes in. */
export function WelcomePage() {
  const { kit = "stepwell" } = useSearch({ from: "/welcome" });
  const navigate = useNavigate({ from: "/welcome" });
  const session = useSession();
  const apps = useQuery(appsQuery);
  const functions = useQuery(functionsQuery);
  const demo = useQuery({ ...demoQuery, enabled: session?.can_demo === true, staleTime: 0 });
  const refresh = () => {
    queryClient.invalidateQueries({ queryKey: appsQuery.queryKey });
    queryClient.invalidateQueries({ queryKey: functionsQuery.queryKey });
  };
  useLive(["functions"], { changes: refresh, reset: refresh });
  const server = { url: session?.url ?? location.origin, isDev: session?.mode !== "start" };
  const found = apps.data?.items ?? [];
  return (
    <Page title="First five minutes">
      <div className={s.welcome}>
        {apps.isError && <ErrorState error={apps.error} retry={() => apps.refetch()} />}
        {found.length > 0 ? (
          <Arrived apps={found} functions={functions.data?.items ?? []} />
        ) : (
          <p className={s.lead}>
            A function is ordinary code in your own app. Write one, start the app, and it shows up here by itself.
          </p>
        )}
        <Tabs
          label="SDK"
          active={kit}
          onChange={(id) => navigate({ search: { kit: id as Kit }, replace: true })}
          tabs={KITS.map((id) => ({
            id,
            name: KIT_NAMES[id],
            content: (
              <ol className={s.steps}>
                {snippets(id, server).map((snippet) => (
                  <Code key={snippet.title} snippet={snippet} />
                ))}
              </ol>
            ),
          }))}
        />
        {!server.isDev && <SyncForm example={APP_URLS[kit]} />}
        {found.length === 0 && (
          <p className={s.waiting} role="status">
            <i aria-hidden />
            {server.isDev
              ? "Looking for an app on the usual ports of this machine"
              : "Waiting for an app to register itself"}
          </p>
        )}
        {demo.data && (found.length === 0 || demo.data.is_on) && <Demo isOn={demo.data.is_on} />}
      </div>
    </Page>
  );
}

function Code({ snippet: { title, code } }: { snippet: Snippet }) {
  return (
    <li className={s.step}>
      <h2>{title}</h2>
      <div className={s.code}>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: one scrolls it by keys */}
        <pre tabIndex={0}>{code}</pre>
        <CopyButton text={() => code} label={`Copy ${title}`} />
      </div>
    </li>
  );
}
