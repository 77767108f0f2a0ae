/** Of the names, those that are most like one: at most 3, the nearest first, none that is too different. */
export function nearest(name: string, names: Iterable<string>): string[] {
  const sought = name.toLowerCase();
  return [...names]
    .map((one) => ({ one, far: distance(sought, one.toLowerCase()) / Math.max(sought.length, one.length) }))
    .filter(({ one, far }) => far <= 0.4 && one !== name)
    .sort((a, b) => a.far - b.far || a.one.localeCompare(b.one))
    .slice(0, 3)
    .map(({ one }) => one);
}

/** How many letters must be put in, taken out or changed to make the one of the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
