/** A stretch of time in an attempt, as the app measured it with OpenTelemetry. */
export interface Span {
  id: string;
  parent_id: string | null;
  attempt_id: string | null;
  name: string;
  started_at: string;
  ended_at: string | null;
  status: string;
  attributes: unknown;
}
