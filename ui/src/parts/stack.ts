/** Add to each series those before it. */
export function stack(values: (number | null)[][]): number[][] {
  const sums: number[][] = [];
  for (const own of values) {
    const below = sums.at(-1);
    sums.push(own.map((value, i) => (value ?? 0) + (below?.[i] ?? 0)));
  }
  return sums;
}
