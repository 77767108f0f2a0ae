import { useSyncExternalStore } from "react";

const NARROW = matchMedia("(max-width: 720px)");

/** Whether rows are cards: the page is as narrow as a phone. */
export function useIsNarrow(): boolean {
  return useSyncExternalStore(
    (listener) => {
      NARROW.addEventListener("change", listener);
      return () => NARROW.removeEventListener("change", listener);
    },
    () => NARROW.matches,
  );
}
