/**
 * Where to go after logging in: the path that one came from, if it is one of ours.
 *
 * Anything else goes to the start page: an address from outside must not send people elsewhere.
 */
export function safePath(raw: unknown, origin = location.origin): string {
  if (typeof raw !== "string" || !raw.startsWith("/")) return "/";
  try {
    const url = new URL(raw, origin);
    if (url.origin !== origin || url.pathname === "/login" || url.pathname === "/setup") return "/";
    return url.pathname + url.search + url.hash;
  } catch {
    return "/";
  }
}
