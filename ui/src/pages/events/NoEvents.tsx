// In place of the list: loading, nothing yet, nothing that matches, or a failure.
import { Link } from "@tanstack/react-router";
import { Inbox, SearchX } from "lucide-react";
import type { EventSummary } from "~/api/api.gen";
import { SearchedUntil } from "~/lists/ListEnd";
import type { Feed } from "~/lists/useFeed";
import { Button } from "~/parts/Button";
import { EmptyState } from "~/parts/EmptyState";
import { ErrorState, Skeleton } from "~/parts/ErrorState";

type Props = {
  feed: Feed<EventSummary>;
  isFiltered: boolean;
  /** The name that is searched for, and triggers like it. */
  near: readonly string[];
  onName: (name: string) => void;
  onClear: () => void;
};

export function NoEvents({ feed, isFiltered, near, onName, onClear }: Props) {
  const { error } = feed;
  if (error?.path === "$.where") {
    return (
      <EmptyState title="This condition can't be read" icon={<SearchX size={20} aria-hidden />}>
        <p>The box above says where. Conditions look like these:</p>
        <p>
          <code>data.user_id = 42</code> ·{" "}
          <code>event.data.total &gt; 100 &amp;&amp; event.name == "order.created"</code>
        </p>
      </EmptyState>
    );
  }
  if (error) {
    return (
      <ErrorState error={error} retry={feed.retry}>
        {isFiltered && error.kind !== "offline" && <Button onClick={onClear}>Clear the filters</Button>}
      </ErrorState>
    );
  }
  if (feed.isLoading) return <Skeleton lines={16} />;
  if (feed.searchedUntil) {
    return (
      <EmptyState title="None found so far" icon={<SearchX size={20} aria-hidden />}>
        <SearchedUntil feed={feed} />
      </EmptyState>
    );
  }
  if (isFiltered) {
    return (
      <EmptyState title="No event matches" icon={<SearchX size={20} aria-hidden />}>
        {near.map((name) => (
          <p key={name}>
            Did you mean{" "}
            <Button look="ghost" onClick={() => onName(name)}>
              {name}
            </Button>
          </p>
        ))}
        <p>New ones that match are shown here when they come.</p>
        <Button onClick={onClear}>Clear the filters</Button>
      </EmptyState>
    );
  }
  return (
    <EmptyState title="No events yet" icon={<Inbox size={20} aria-hidden />}>
      <p>
        Events that apps send are shown here as they come. <Link to="/send">Send one</Link>
      </p>
    </EmptyState>
  );
}
