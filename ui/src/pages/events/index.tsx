import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useMemo, useState } from "react";
import type { EventSummary } from "~/api/api.gen";
import { read } from "~/api/query";
import { Grid } from "~/lists/Grid";
import { ListEnd } from "~/lists/ListEnd";
import { NewButton } from "~/lists/NewButton";
import { nearest } from "~/lists/near";
import { RangeMenu } from "~/lists/RangeMenu";
import { Chip, SearchBox } from "~/lists/SearchBox";
import { functionNames, triggerNames } from "~/lists/triggers";
import { inWords, understand } from "~/lists/understand";
import { useIdSearch } from "~/lists/useIdSearch";
import { Button } from "~/parts/Button";
import { Page } from "~/parts/Page";
import { useKeys } from "~/parts/useKeys";
import { columns, nameOf } from "./columns";
import { NoEvents } from "./NoEvents";
import { checkEventsSearch, type EventsSearch, isFiltered } from "./search";
import { useEvents } from "./useEvents";
import { useNearNames } from "./useNearNames";

export function EventsPage() {
  const navigate = useNavigate();
  const search = useSearch({ from: "/events" });
  const go = (next: EventsSearch) => void navigate({ to: "/events", search: checkEventsSearch({ ...next }) });
  const functions = useQuery(read("GET /api/functions", {})).data?.items;
  const hints = useMemo(() => ({ of: "events" as const, names: triggerNames(functions) }), [functions]);
  const readText = useCallback((text: string) => understand(text, hints), [hints]);
  const found = useMemo(() => readText(search.q ?? ""), [readText, search.q]);
  const missing = useIdSearch(found);

  const feed = useEvents(search, found);
  const near = useNearNames(feed.rows, functions);
  const cells = useMemo(() => columns(near, functionNames(functions)), [near, functions]);
  const [shows, setShows] = useState(0);
  const showNew = () => {
    feed.showNew();
    setShows(shows + 1);
  };
  const toggleInternal = () => go({ ...search, internal: search.internal ? undefined : true });
  useKeys({ i: { does: "Show events of the server itself, or hide them", act: toggleInternal } });
  const open = (event: EventSummary, isApart: boolean) =>
    isApart
      ? void window.open(`/events/${event.id}`, "_blank")
      : void navigate({ to: "/events/$id", params: { id: event.id } });
  return (
    <Page
      title="Events"
      isFilled
      head={
        <>
          <h1>Events</h1>
          <SearchBox
            label="Search events"
            placeholder="A name, data.user_id = 42, an id, or CEL"
            value={search.q ?? ""}
            read={readText}
            error={missing ?? (feed.error?.path === "$.where" ? feed.error.message : undefined)}
            onSearch={(q) => go({ ...search, q })}
          />
        </>
      }
      bar={
        <>
          <Button hotkey="i" look="ghost" aria-pressed={search.internal ?? false} onClick={toggleInternal}>
            Internal events
          </Button>
          <RangeMenu
            range={{ range: search.range, from: search.from, until: search.until }}
            onPick={(range) => go({ ...search, range: undefined, from: undefined, until: undefined, ...range })}
          />
          {found && <Chip text={inWords(found)} onRemove={() => go({ ...search, q: undefined })} />}
        </>
      }
    >
      {feed.rows.length > 0 ? (
        <Grid
          label="Events"
          rows={feed.rows}
          columns={cells}
          nameOf={nameOf}
          onOpen={open}
          onEnd={feed.searchedUntil ? nothing : feed.more}
          isDimmed={feed.isPast}
          topKey={shows}
          over={<NewButton count={feed.newCount} onShow={showNew} isHotkeyOn />}
          after={<ListEnd feed={feed} noun="event" />}
        />
      ) : (
        <NoEvents
          feed={feed}
          isFiltered={isFiltered(search)}
          near={found?.kind === "event" ? nearest(found.name, hints.names) : []}
          onName={(q) => go({ ...search, q })}
          onClear={() => go({ internal: search.internal })}
          onLastDay={() => go({ ...search, from: undefined, until: undefined, range: "24h" })}
        />
      )}
    </Page>
  );
}

function nothing() {}
