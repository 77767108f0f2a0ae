// In place of a list: loading, a failure, nothing found so far, nothing that matches, nothing yet.
import { Inbox, SearchX } from "lucide-react";
import type { ReactNode } from "react";
import { Button } from "~/parts/Button";
import { EmptyState } from "~/parts/EmptyState";
import { ErrorState, Skeleton } from "~/parts/ErrorState";
import { SearchedUntil } from "./ListEnd";
import type { Row } from "./merge";
import type { Feed } from "./useFeed";

type Props<T extends Row> = {
  feed: Feed<T>;
  /** One of what is listed: `run`. */
  noun: string;
  /** A condition that looks through these. */
  example: string;
  isFiltered: boolean;
  onClear: () => void;
  /** What one can do about a search that took too long. */
  whenLate?: ReactNode;
  /** What may have been meant by filters that nothing matches. */
  guesses?: ReactNode;
  /** Where there is nothing at all: how the first one comes. */
  children: ReactNode;
};

export function NoList<T extends Row>({ feed, noun, example, isFiltered, onClear, ...rest }: Props<T>) {
  const { error } = feed;
  const seeking = <SearchX size={20} aria-hidden />;
  if (error?.path === "$.where") {
    return (
      <EmptyState title="This condition can't be read" icon={seeking}>
        <p>The box above says where. Conditions look like these:</p>
        <p>
          <code>data.user_id = 42</code> · <code>{example}</code>
        </p>
      </EmptyState>
    );
  }
  if (error) {
    return (
      <ErrorState
        error={error}
        retry={feed.retry}
        ways={
          <>
            {error.kind === "timeout" && rest.whenLate}
            {isFiltered && error.kind !== "offline" && <Button onClick={onClear}>Clear the filters</Button>}
          </>
        }
      />
    );
  }
  if (feed.isLoading) return <Skeleton lines={16} />;
  if (feed.searchedUntil) {
    return (
      <EmptyState title="None found so far" icon={seeking}>
        <SearchedUntil feed={feed} />
      </EmptyState>
    );
  }
  if (isFiltered) {
    return (
      <EmptyState title={`No ${noun} matches`} icon={seeking}>
        {rest.guesses}
        <p>New ones that match are shown here when they come.</p>
        <Button onClick={onClear}>Clear the filters</Button>
      </EmptyState>
    );
  }
  return (
    <EmptyState title={`No ${noun}s yet`} icon={<Inbox size={20} aria-hidden />}>
      {rest.children}
    </EmptyState>
  );
}
