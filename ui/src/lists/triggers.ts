import type { FunctionView } from "~/api/api.gen";

/** The names of events for which functions have triggers. */
export function triggerNames(functions: readonly FunctionView[] | undefined): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { triggers } of functions ?? []) {
    for (const { event } of triggers) if (event) names.add(event);
  }
  return names;
}
