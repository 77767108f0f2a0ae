// Lists whose rows have ids that sort by age, newest first: putting news and changed rows into what is shown.

export interface Row {
  id: string;
}

export interface FeedPage<T extends Row> {
  items: T[];
  next_cursor: string | null;
  searched_until?: string | null;
}

/** All rows of the pages, each once. */
export function rowsOf<T extends Row>(pages: readonly FeedPage<T>[]): T[] {
  const seen = new Set<string>();
  return pages.flatMap((page) => page.items.filter((row) => !seen.has(row.id) && seen.add(row.id)));
}

/** Put changed rows in the place of those with their ids. Pages in which nothing changes stay the same objects. */
export function patch<T extends Row>(pages: readonly FeedPage<T>[], changed: readonly T[]): FeedPage<T>[] {
  const byId = new Map(changed.map((row) => [row.id, row]));
  return pages.map((page) =>
    page.items.some((row) => byId.has(row.id))
      ? { ...page, items: page.items.map((row) => byId.get(row.id) ?? row) }
      : page,
  );
}

/** Of what was found just now, the rows that aren't shown but belong among those that are, or before them. */
export function newsAmong<T extends Row>(pages: readonly FeedPage<T>[], found: readonly T[]): T[] {
  const rows = rowsOf(pages);
  const shown = new Set(rows.map((row) => row.id));
  const last = pages.at(-1);
  const oldest = last?.next_cursor ? rows.at(-1)?.id : undefined;
  return found.filter((row) => !shown.has(row.id) && (oldest === undefined || row.id > oldest));
}

/** Show the news: each in its place, on the page on which it belongs. */
export function withNews<T extends Row>(pages: readonly FeedPage<T>[], news: readonly T[]): FeedPage<T>[] {
  const shown = new Set(rowsOf(pages).map((row) => row.id));
  let rest = news.filter((row) => !shown.has(row.id));
  return pages.map((page, at) => {
    const end = at === pages.length - 1 ? undefined : page.items.at(-1)?.id;
    const here = rest.filter((row) => end === undefined || row.id > end);
    if (here.length === 0) return page;
    rest = rest.filter((row) => !here.includes(row));
    return { ...page, items: [...page.items, ...here].sort((a, b) => (a.id < b.id ? 1 : -1)) };
  });
}
