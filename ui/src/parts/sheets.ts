// What the sheet of keys shows of the keys that are bound.
import { type Bound, EVERYWHERE, HERE } from "./useKeys";

export interface Line {
  keys: string[];
  does: string;
  isOn: boolean;
}

/** For each place the keys that count there, those that do the same in one line: the page's own first, then its parts'. */
export function sheetsOf(bound: readonly Bound[]): { place: string; lines: Line[] }[] {
  const sheets = new Map<string, Map<string, Line>>();
  for (const { place, keys, isOn } of bound) {
    const lines = sheets.get(place) ?? new Map<string, Line>();
    sheets.set(place, lines);
    for (const [key, { does }] of Object.entries(keys)) {
      const line = lines.get(does) ?? { keys: [], does, isOn: false };
      lines.set(does, line);
      if (!line.keys.includes(key)) line.keys.push(key);
      line.isOn ||= isOn;
    }
  }
  const rank = (place: string) => (place === HERE ? 0 : place === EVERYWHERE ? 2 : 1);
  return [...sheets]
    .map(([place, lines]) => ({ place, lines: [...lines.values()] }))
    .sort((a, b) => rank(a.place) - rank(b.place));
}
