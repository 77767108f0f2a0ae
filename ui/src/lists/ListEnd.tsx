// What stands under the last row: more on its way, a search that has looked only so far, or the end.
import { Button } from "~/parts/Button";
import { Skeleton } from "~/parts/ErrorState";
import { dayAndClock } from "~/parts/instant";
import { useKeys } from "~/parts/useKeys";
import { many } from "./format";
import s from "./ListEnd.module.css";
import type { Row } from "./merge";
import type { Feed } from "./useFeed";

export function ListEnd<T extends Row>({ feed, noun }: { feed: Feed<T>; noun: string }) {
  if (feed.isLoadingMore) return <Skeleton lines={3} />;
  if (feed.error) {
    return (
      <div className={s.end} role="alert">
        <span>The next ones couldn't be fetched: {feed.error.message}</span>
        <Button onClick={feed.retry}>Try again</Button>
      </div>
    );
  }
  if (feed.searchedUntil) return <SearchedUntil feed={feed} />;
  if (feed.hasMore) return <Skeleton lines={3} />;
  return <p className={s.last}>{many(feed.rows.length, noun)}, and no more before</p>;
}

/** A search that was broken off in time: how far back it has looked, and going on. */
export function SearchedUntil<T extends Row>({ feed }: { feed: Feed<T> }) {
  const until = feed.searchedUntil;
  useKeys({ m: { does: "Look further back", act: feed.more } }, until !== null);
  if (!until) return null;
  return (
    <div className={s.end}>
      <p className={s.note} role="note">
        The search looked back to <time dateTime={until}>{dayAndClock(until)}</time>
      </p>
      <Button hotkey="m" onClick={feed.more} isBusy={feed.isLoadingMore}>
        Look further back
      </Button>
    </div>
  );
}
