// In place of the list: loading, nothing yet, nothing that matches, or a failure.
import { Link } from "@tanstack/react-router";
import { Inbox, SearchX } from "lucide-react";
import type { RunSummary } from "~/api/api.gen";
import { SearchedUntil } from "~/lists/ListEnd";
import type { Feed } from "~/lists/useFeed";
import { Button } from "~/parts/Button";
import { EmptyState } from "~/parts/EmptyState";
import { ErrorState, Skeleton } from "~/parts/ErrorState";

type Props = {
  feed: Feed<RunSummary>;
  isFiltered: boolean;
  /** Undefined until it is known. */
  hasFunctions: boolean | undefined;
  onClear: () => void;
  onLastDay: () => void;
};

export function NoRows({ feed, isFiltered, hasFunctions, onClear, onLastDay }: Props) {
  const { error } = feed;
  if (error?.path === "$.where") {
    return (
      <EmptyState title="This condition can't be read" icon={<SearchX size={20} aria-hidden />}>
        <p>The box above says where. Conditions look like these:</p>
        <p>
          <code>data.user_id = 42</code> · <code>event.data.total &gt; 100 &amp;&amp; run.status == "failed"</code>
        </p>
      </EmptyState>
    );
  }
  if (error) {
    return (
      <ErrorState error={error} retry={feed.retry}>
        {error.kind === "timeout" && <Button onClick={onLastDay}>Only the last 24 hours</Button>}
        {isFiltered && error.kind !== "offline" && <Button onClick={onClear}>Clear the filters</Button>}
      </ErrorState>
    );
  }
  if (feed.isLoading) return <Skeleton lines={14} />;
  if (feed.searchedUntil) {
    return (
      <EmptyState title="None found so far" icon={<SearchX size={20} aria-hidden />}>
        <SearchedUntil feed={feed} />
      </EmptyState>
    );
  }
  if (isFiltered) {
    return (
      <EmptyState title="No run matches" icon={<SearchX size={20} aria-hidden />}>
        <p>There is none with these filters. New ones that match are shown here when they come.</p>
        <Button onClick={onClear}>Clear the filters</Button>
      </EmptyState>
    );
  }
  return (
    <EmptyState title="No runs yet" icon={<Inbox size={20} aria-hidden />}>
      {hasFunctions === false ? (
        <p>
          No app has registered its functions yet. <Link to="/welcome">Write the first function</Link>
        </p>
      ) : (
        <p>
          Runs start when events come in. <Link to="/send">Send an event</Link>
        </p>
      )}
    </EmptyState>
  );
}
