// A list that is live and never jumps: rows change where they are; new ones are counted, and come in when asked for.
import { type InfiniteData, useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { ApiError } from "~/api/client";
import { useLiveState } from "~/api/live";
import { type FeedPage, newsAmong, patch, type Row, rowsOf, withNews } from "./merge";
import { Pacer } from "./pacer";

/** Ids that one request may ask for, and new rows that are counted; more show as "100+". */
export const FEED_ROWS_MAX = 100;
/** Rows that stay loaded when news are shown; of more, only the first page is. */
const ROWS_KEPT_MAX = 2_000;
/** After "anything may have changed", as many rows as this are fetched again; of more, the first page is. */
const ROWS_REFRESHED_MAX = 500;
const PATCH_GAP_MS = 150;
const NEWS_GAP_MS = 200;

export interface Source<T extends Row> {
  /** Names the list, with all that it is filtered by. */
  key: readonly unknown[];
  page: (cursor: string | null, signal: AbortSignal) => Promise<FeedPage<T>>;
  /** The newest of the list's rows, up to `FEED_ROWS_MAX`; `rows` are those that are shown. */
  news: (rows: readonly T[]) => Promise<readonly T[]>;
  byIds: (ids: string[]) => Promise<readonly T[]>;
  /** Whether a row can change at all. */
  isOpen: (row: T) => boolean;
}

export interface Feed<T extends Row> {
  rows: readonly T[];
  pages: readonly FeedPage<T>[];
  error: ApiError | null;
  isLoading: boolean;
  isLoadingMore: boolean;
  /** What is shown is of the filters before: those asked for are on their way. */
  isPast: boolean;
  hasMore: boolean;
  /** The search has been broken off: down to this time it has looked. */
  searchedUntil: string | null;
  more: () => void;
  retry: () => void;
  newCount: number;
  showNew: () => void;
  /** These may have changed; those that are shown and can change are fetched again. */
  changed: (ids: readonly string[]) => void;
  /** These have changed for sure: also those that were done. */
  refetch: (ids: readonly string[]) => void;
  /** There may be new rows. */
  grown: () => void;
  /** Anything may have changed. */
  reset: () => void;
}

export function useFeed<T extends Row>(source: Source<T>): Feed<T> {
  const client = useQueryClient();
  const latest = useRef(source);
  latest.current = source;
  const name = JSON.stringify(source.key);

  const query = useInfiniteQuery<FeedPage<T>, ApiError, InfiniteData<FeedPage<T>>, readonly unknown[], string | null>({
    queryKey: source.key,
    queryFn: ({ pageParam, signal }) => source.page(pageParam, signal),
    initialPageParam: null,
    getNextPageParam: (last) => last.next_cursor,
    placeholderData: (before) => before,
  });
  const pages = query.data?.pages ?? NO_PAGES;
  const rows = useMemo(() => rowsOf(pages as FeedPage<T>[]), [pages]);
  const shown = useRef(rows);
  shown.current = rows;

  const [news, setNews] = useState<{ of: string; rows: readonly T[] }>({ of: name, rows: [] });
  const waiting = useRef(new Set<string>());

  const change = useCallback(
    (make: (pages: FeedPage<T>[]) => FeedPage<T>[]) =>
      client.setQueryData<InfiniteData<FeedPage<T>>>(latest.current.key, (data) =>
        data ? { ...data, pages: make(data.pages) } : data,
      ),
    [client],
  );

  const pacers = useRef<{ patch: Pacer; news: Pacer } | null>(null);
  useEffect(() => {
    waiting.current.clear();
    setNews({ of: name, rows: [] });
    const patching = new Pacer(async () => {
      const ids = [...waiting.current].slice(0, FEED_ROWS_MAX);
      for (const id of ids) waiting.current.delete(id);
      if (waiting.current.size > 0) patching.ask();
      if (ids.length === 0) return;
      const fresh = await latest.current.byIds(ids);
      change((pages) => patch(pages, fresh));
    }, PATCH_GAP_MS);
    const looking = new Pacer(async () => {
      const data = client.getQueryData<InfiniteData<FeedPage<T>>>(latest.current.key);
      if (!data) return;
      const found = await latest.current.news(rowsOf(data.pages));
      if (JSON.stringify(latest.current.key) !== name) return;
      const news = newsAmong(data.pages, found);
      // Where nothing is shown, nothing can jump.
      const isEmpty = data.pages.every((page) => page.items.length === 0);
      if (!isEmpty) setNews({ of: name, rows: news });
      else if (news.length < FEED_ROWS_MAX) change((pages) => withNews(pages, news));
      else await client.invalidateQueries({ queryKey: latest.current.key });
    }, NEWS_GAP_MS);
    pacers.current = { patch: patching, news: looking };
    return () => {
      patching.stop();
      looking.stop();
    };
  }, [name, client, change]);

  const mark = useCallback((ids: readonly string[], isMeant: (row: T) => boolean) => {
    const named = new Set(ids);
    for (const row of shown.current) if (named.has(row.id) && isMeant(row)) waiting.current.add(row.id);
    if (waiting.current.size > 0) pacers.current?.patch.ask();
  }, []);
  const changed = useCallback((ids: readonly string[]) => mark(ids, latest.current.isOpen), [mark]);
  const refetch = useCallback((ids: readonly string[]) => mark(ids, () => true), [mark]);
  const grown = useCallback(() => pacers.current?.news.ask(), []);
  const fetchAgain = query.refetch;
  const restart = useCallback(() => {
    client.setQueryData<InfiniteData<FeedPage<T>>>(latest.current.key, (data) =>
      data ? { pages: data.pages.slice(0, 1), pageParams: data.pageParams.slice(0, 1) } : data,
    );
    setNews({ of: JSON.stringify(latest.current.key), rows: [] });
    void fetchAgain();
  }, [client, fetchAgain]);
  const reset = useCallback(() => {
    const all = shown.current;
    if (all.length > ROWS_REFRESHED_MAX) restart();
    else {
      changed(all.map((row) => row.id));
      grown();
    }
  }, [changed, grown, restart]);

  // Between what was fetched and the stream's beginning something may have happened.
  const isLive = useLiveState() === "live";
  const isThere = query.isSuccess && !query.isPlaceholderData;
  // biome-ignore lint/correctness/useExhaustiveDependencies: once for each list and each beginning of the stream
  useEffect(() => {
    if (!isLive || !isThere) return;
    changed(shown.current.map((row) => row.id));
    grown();
  }, [isLive, isThere, name]);

  const fresh = news.of === name ? news.rows.filter((row) => !rows.some((one) => one.id === row.id)) : NO_ROWS;
  const showNew = useCallback(() => {
    if (fresh.length === 0) return;
    if (fresh.length >= FEED_ROWS_MAX || shown.current.length > ROWS_KEPT_MAX) restart();
    else change((pages) => withNews(pages, fresh as readonly T[]));
  }, [fresh, restart, change]);

  const { fetchNextPage, hasNextPage, isFetchingNextPage } = query;
  return {
    rows,
    pages: pages as FeedPage<T>[],
    error: query.error,
    isLoading: query.isPending,
    isLoadingMore: isFetchingNextPage,
    isPast: query.isPlaceholderData,
    hasMore: hasNextPage,
    searchedUntil: pages.at(-1)?.searched_until ?? null,
    more: useCallback(() => {
      if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
    }, [hasNextPage, isFetchingNextPage, fetchNextPage]),
    retry: useCallback(() => void fetchAgain(), [fetchAgain]),
    newCount: fresh.length,
    showNew,
    changed,
    refetch,
    grown,
    reset,
  };
}

const NO_PAGES: FeedPage<never>[] = [];
const NO_ROWS: readonly never[] = [];
