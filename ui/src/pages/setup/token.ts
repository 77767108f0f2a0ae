/** The token of the set-up link, from the address's fragment (`#token=…`, or the token alone); empty without one. */
export function tokenOf(fragment: string): string {
  const text = fragment.replace(/^#/, "");
  return new URLSearchParams(text).get("token") ?? (text.includes("=") ? "" : text);
}
