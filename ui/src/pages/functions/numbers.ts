// Numbers as short words.

/** A count with three digits at most: `873`, `1.2k`, `4.5M`. */
export function short(count: number): string {
  if (count < 1_000) return String(count);
  const [size, letter] = count < 999_500 ? [1_000, "k"] : [1_000_000, "M"];
  const scaled = count / (size as number);
  return `${scaled < 9.95 ? scaled.toFixed(1).replace(".0", "") : Math.round(scaled)}${letter}`;
}

/** A share of 1 in per cent: what is there is never shown as nothing. */
export function percent(share: number): string {
  if (share > 0 && share < 0.001) return "<0.1%";
  if (share > 0.999 && share < 1) return ">99.9%";
  return `${+(share * 100).toFixed(share < 0.1 ? 1 : 0)}%`;
}

/** A length of time in two places at most: `45 ms`, `1.2 s`, `4 min`, `3.5 h`, `2 d`. */
export function took(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const [size, unit] =
    ms < 60_000
      ? [1_000, "s"]
      : ms < 3_600_000
        ? [60_000, "min"]
        : ms < 86_400_000
          ? [3_600_000, "h"]
          : [86_400_000, "d"];
  const scaled = ms / (size as number);
  return `${scaled < 9.95 ? +scaled.toFixed(1) : Math.round(scaled)} ${unit}`;
}
