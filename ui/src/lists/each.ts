// Doing the same with many, a few at a time.

export interface Progress<T> {
  done: number;
  results: T[];
  failures: { id: string; message: string }[];
}

/** At once: the server answers others, too. */
const AT_ONCE = 4;

/** Do it with each id; one that fails doesn't stop the others. Stops early when asked to, after those under way. */
export async function each<T>(
  ids: readonly string[],
  act: (id: string) => Promise<T>,
  tell: (progress: Progress<T>) => void,
  signal: AbortSignal,
): Promise<Progress<T>> {
  let progress: Progress<T> = { done: 0, results: [], failures: [] };
  const rest = [...ids];
  const work = async () => {
    for (let id = rest.shift(); id !== undefined && !signal.aborted; id = rest.shift()) {
      try {
        const result = await act(id);
        progress = { ...progress, done: progress.done + 1, results: [...progress.results, result] };
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        progress = { ...progress, done: progress.done + 1, failures: [...progress.failures, { id, message }] };
      }
      tell(progress);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return progress;
}
