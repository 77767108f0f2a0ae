/** Of what an address says, the texts; the router reads `?q=42` as a number. */
export function texts<K extends string>(raw: Record<string, unknown>, names: readonly K[]): Partial<Record<K, string>> {
  const found: Partial<Record<K, string>> = {};
  for (const name of names) {
    const value = raw[name];
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    if (value !== undefined && value !== null && text) found[name] = text;
  }
  return found;
}
