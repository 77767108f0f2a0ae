/** The state of the page that its address holds. */
export type LogsSearch = Record<never, never>;

export function checkLogsSearch(_raw: Record<string, unknown>): LogsSearch {
  return {};
}
