import type { FunctionView } from "~/api/api.gen";

/** The names of events for which functions have triggers. */
export function triggerNames(functions: readonly FunctionView[] | undefined): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { triggers } of functions ?? []) {
    for (const { event } of triggers) if (event) names.add(event);
  }
  return names;
}

/** The names of functions by their slugs. */
export function functionNames(functions: readonly FunctionView[] | undefined): ReadonlyMap<string, string> {
  return new Map(functions?.map(({ slug, name }) => [slug, name]));
}

const OURS: Record<string, string> = {
  "inngest/function.invoked": "another run",
  "inngest/scheduled.timer": "schedule",
};

/** What started a run, where that was none of the user's events. */
export function triggerWords(event: string): string | undefined {
  return OURS[event];
}
