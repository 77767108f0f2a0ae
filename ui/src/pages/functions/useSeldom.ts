import { useCallback, useEffect, useRef } from "react";

/** Do it at most once in `ms`, however often it is asked for; the last wish is always carried out. */
export function useSeldom(action: () => void, ms: number): () => void {
  const latest = useRef(action);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const doneAt = useRef(Number.NEGATIVE_INFINITY);
  useEffect(() => {
    latest.current = action;
  });
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current !== undefined) return;
    const wait = Math.max(0, doneAt.current + ms - performance.now());
    timer.current = setTimeout(() => {
      timer.current = undefined;
      doneAt.current = performance.now();
      latest.current();
    }, wait);
  }, [ms]);
}
