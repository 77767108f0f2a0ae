import { useEffect, useRef } from "react";

/** What keys do while the component is shown: `/`, `i`, `mod+enter`, `escape`. In a field, a menu or a dialog, which have
 * keys of their own, they count only with `mod`. */
export type Keys = Record<string, (event: KeyboardEvent) => void>;

export function useKeys(keys: Keys, isOn = true) {
  const latest = useRef(keys);
  useEffect(() => {
    latest.current = keys;
  });
  useEffect(() => {
    if (!isOn) return;
    const press = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.isComposing || event.altKey) return;
      const hasMod = event.metaKey || event.ctrlKey;
      const action = latest.current[(hasMod ? "mod+" : "") + event.key.toLowerCase()];
      if (!action || (!hasMod && hasOwnKeys(event.target))) return;
      event.preventDefault();
      action(event);
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, [isOn]);
}

const OWN_KEYS = "input:not([type=checkbox]), textarea, select, [role=menu], [role=listbox], [role=dialog]";

function hasOwnKeys(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || target.closest(OWN_KEYS) !== null);
}
