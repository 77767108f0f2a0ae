// Keys: bound where they act, with the words of what they do, so that the sheet of keys lists all that are bound.
import { type KeyboardEvent as PartKeyEvent, useLayoutEffect, useRef } from "react";

/** What a key does. */
export interface Key {
  /** In the words of the sheet. Keys of the same words are one line of it: "Next, previous". */
  does: string;
  /** Gives `false` back where there is nothing to do: then the browser does what it does. */
  act: (event: KeyboardEvent) => unknown;
}

/** By their names: `/`, `i`, `mod+enter`, `escape`, `arrowdown`. */
export type Keys = Record<string, Key>;

export const HERE = "On this page";
export const EVERYWHERE = "Everywhere";

/** Some keys that are bound at the moment. */
export interface Bound {
  /** Where they count: on the page, on every page, or in a part of it that has the focus. */
  place: string;
  keys: Keys;
  /** Whether they would do something just now. */
  isOn: boolean;
}

const all = new Set<{ current: Bound }>();

/** Every key that is bound at the moment, in the order in which parts of the page were shown. */
export function boundKeys(): Bound[] {
  return [...all].map((one) => one.current);
}

function useBound(place: string, keys: Keys, isOn: boolean) {
  const latest = useRef<Bound>({ place, keys, isOn });
  // Layout effects throughout: a key that is shown counts from then on.
  useLayoutEffect(() => {
    latest.current = { place, keys, isOn };
  });
  useLayoutEffect(() => {
    all.add(latest);
    return () => void all.delete(latest);
  }, []);
  return latest;
}

/** Bind keys while the component is shown. In a field, a menu or a dialog, which have keys of their own, they count only
 * with `mod`. */
export function useKeys(keys: Keys, isOn = true, place: typeof HERE | typeof EVERYWHERE = HERE) {
  const latest = useBound(place, keys, isOn);
  useLayoutEffect(() => {
    if (!isOn) return;
    const press = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.isComposing || event.altKey) return;
      const key = latest.current.keys[nameOf(event)];
      if (!key || (!hasMod(event) && hasOwnKeys(event.target))) return;
      if (key.act(event) !== false) event.preventDefault();
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, [isOn, latest]);
}

/** Keys of a part that count while it has the focus; returns what the part does on `onKeyDown`. */
export function usePartKeys(place: string, keys: Keys): (event: PartKeyEvent) => void {
  const latest = useBound(place, keys, true);
  return ({ nativeEvent: event }) => {
    if (event.altKey) return;
    const key = latest.current.keys[nameOf(event)];
    if (!key || key.act(event) === false) return;
    event.preventDefault();
    event.stopPropagation();
  };
}

function nameOf(event: KeyboardEvent): string {
  return (hasMod(event) ? "mod+" : "") + event.key.toLowerCase();
}

function hasMod(event: KeyboardEvent): boolean {
  return event.metaKey || event.ctrlKey;
}

const OWN_KEYS = "input:not([type=checkbox]), textarea, select, [role=menu], [role=listbox], [role=dialog]";

function hasOwnKeys(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.closest(OWN_KEYS) !== null);
}
