// What the palette offers for a text: pages by their names, functions by theirs, and whatever an id may be of.

export interface Destination {
  name: string;
  detail?: string;
  kind: "page" | "function" | "run" | "event" | "search";
  href: string;
}

/** What is said of a function. */
type Named = { slug: string; name: string };

const PAGES: Destination[] = [
  { name: "Runs", kind: "page", href: "/runs" },
  { name: "Failed runs", kind: "page", href: "/runs?status=failed" },
  { name: "Running runs", kind: "page", href: "/runs?status=running" },
  { name: "Events", kind: "page", href: "/events" },
  { name: "Functions", kind: "page", href: "/functions" },
  { name: "Logs", kind: "page", href: "/logs" },
  { name: "Send an event", kind: "page", href: "/send" },
  { name: "First five minutes", kind: "page", href: "/welcome" },
];
/** More wouldn't be read. */
const FUNCTIONS_MAX = 8;
const ULID = /^[0-7][0-9a-hjkmnp-tv-z]{25}$/i;

/** Return where a text may lead, the likeliest first. `functions` are all there are. */
export function destinations(text: string, functions: readonly Named[]): Destination[] {
  const wanted = text.trim();
  const low = wanted.toLowerCase();
  const pages = PAGES.filter((page) => page.name.toLowerCase().includes(low));
  if (wanted === "") return pages;
  if (ULID.test(wanted)) {
    const id = wanted.toUpperCase();
    return [
      { name: `Run ${id}`, kind: "run", href: `/runs/${id}` },
      { name: `Event ${id}`, kind: "event", href: `/events/${id}` },
    ];
  }
  const found = functions
    .filter(({ slug, name }) => slug.toLowerCase().includes(low) || name.toLowerCase().includes(low))
    .slice(0, FUNCTIONS_MAX)
    .map(
      ({ slug, name }): Destination => ({
        name,
        detail: slug,
        kind: "function",
        href: `/functions/${encodeURIComponent(slug)}`,
      }),
    );
  const search: Destination = {
    name: `Search runs for ${wanted}`,
    kind: "search",
    href: `/runs?q=${encodeURIComponent(JSON.stringify(wanted))}`,
  };
  return [...pages, ...found, search];
}
