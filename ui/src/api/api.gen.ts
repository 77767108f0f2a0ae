// Made by `python -m tools.api_types` from the server's OpenAPI document. Not to be edited.

/** JSON of any shape: what users' code has sent. */
export type Json = unknown;

/** Apps, by their names. */
export interface AppList {
  items: AppView[];
}

/** A registered app. */
export interface AppView {
  name: string;
  url: string;
  transport: string;
  sdk: string;
  framework: string;
  version: string;
  function_count: number;
  synced_at: string;
  is_archived: boolean;
}

/** A run that an event started, or is in the batch of. */
export interface CausedRunView {
  id: string;
  function: string;
  status: RunStatus;
}

/** What changed since the message before. */
export interface Changes {
  runs: RunChange[];
  events: string[];
  functions: boolean;
  logs: LogLineView[];
  is_partial: boolean;
}

/** The run that a step waits for. */
export interface Child {
  id: string;
  function: string;
  status: RunStatus;
}

/** The configuration that a run began with, as the app registered it. */
export interface ConfigView {
  function: string;
  version: number;
  is_current: boolean;
  created_at: string;
  config: Json;
}

/** Whether the demo shall run. */
export interface DemoSwitch {
  on: boolean;
}

/** Whether the demo runs. */
export interface DemoView {
  is_on: boolean;
  cancelled_runs?: number;
}

/** One round of the reconciler. */
export interface Diagnosis {
  is_healthy: boolean;
  started_at: string;
  ended_at: string;
  is_whole: boolean;
  checked: Record<string, number>;
  findings: FindingView[];
}

/** Where the time of a run went. The parts add up to the time from queued to ended, or to now. */
export interface Durations {
  queued_ms: number;
  code_ms: number;
  waiting_ms: number;
  sleeping_ms: number;
  overhead_ms: number;
}

/** A step that waited for an event, and got it. */
export interface EndedWaitView {
  run_id: string;
  step: string;
  function: string;
}

/** The answer to a request that failed. */
export interface Error {
  error: ErrorDetail;
}

/** What is wrong: a stable code, words for people, and the place in the request. */
export interface ErrorDetail {
  code: string;
  message: string;
  path?: string | null;
}

/** An event with what it is connected with. */
export interface EventDetail {
  id: string;
  event_id: string;
  name: string;
  ts: string;
  received_at: string;
  is_internal: boolean;
  data: Json;
  user: Json;
  v: string | null;
  meta: Json;
  resolved_waits: EndedWaitView[];
  sent_by: SenderView | null;
}

/** What became of an event, function by function. ``near`` are names of triggers like one that no trigger has, and that nobody waits for either. */
export interface EventExplanation {
  id: string;
  name: string;
  summary: string;
  functions: OutcomeView[];
  left_out: number;
  near: string[];
  is_awaited: boolean;
}

/** A name that events have, or that a trigger has. */
export interface EventName {
  name: string;
  last_at: string | null;
  example: Json;
  functions: string[];
}

/** Names of the newest events, the newest first; then those that only triggers have. */
export interface EventNames {
  items: EventName[];
}

/** Events, newest first. */
export interface EventPage {
  items: EventSummary[];
  next_cursor: string | null;
  searched_until?: string | null;
}

/** An event without its payload, with its first 10 runs. */
export interface EventSummary {
  id: string;
  event_id: string;
  name: string;
  ts: string;
  received_at: string;
  is_internal: boolean;
  preview: string | null;
  runs: CausedRunView[];
  gatherings: GatheringView[];
}

/** An event as it was sent. */
export interface EventView {
  id: string;
  event_id: string;
  name: string;
  ts: string;
  received_at: string;
  is_internal: boolean;
  data: Json;
  user: Json;
  v: string | null;
  meta: Json;
}

/** Where a run stands. ``reasons`` is empty when it has ended; of very many, some are left out. */
export interface Explanation {
  id: string;
  status: RunStatus;
  function: string;
  now: string;
  summary: string;
  since: string;
  reason: string | null;
  reasons: ReasonView[];
  left_out: number;
}

/** An error: its name, its message, and the stack where the app gave one. */
export interface Failure {
  name: string;
  message: string;
  stack?: string | null;
}

/** Failed runs with the same error, but for ids and numbers in it. */
export interface FailureGroup {
  fingerprint: string;
  error: string;
  count: number;
  first_at: string;
  last_at: string;
  run_ids: string[];
}

/** What a function's newest runs failed with, the most frequent first. */
export interface Failures {
  groups: FailureGroup[];
  counted_from: string | null;
}

/** Something that was found: a fault, which should never be; or what comes of time, such as an expired wait. */
export interface FindingView {
  fault: string;
  is_fault: boolean;
  found: number;
  mended: number;
  examples: string[];
}

/** Runs of a function that ended from ``at`` on, up to the next bucket; and the most that it had to do at once. */
export interface FunctionBucket {
  at: string;
  completed?: number;
  failed?: number;
  cancelled?: number;
  skipped?: number;
  p50_ms: number | null;
  p95_ms: number | null;
  backlog: number;
  running: number;
  runs_running: number;
}

/** A function with its configuration. */
export interface FunctionDetail {
  slug: string;
  name: string;
  app: string;
  version: number;
  triggers: TriggerView[];
  max_attempts: number;
  url: string;
  is_archived: boolean;
  pause: PauseView | null;
  config: Json;
}

/** Functions, by their ids. */
export interface FunctionList {
  items: FunctionView[];
}

/** How a function did over time, and what it has to do now. */
export interface FunctionStats {
  bucket_ms: number;
  buckets: FunctionBucket[];
  backlog: number;
  running: number;
  limits: LimitUse[];
  counted_from: string | null;
}

/** All functions, by their ids; with ``is_partial`` the oldest runs of the time weren't counted. */
export interface FunctionSummaries {
  items: FunctionSummary[];
  is_partial: boolean;
}

/** How a function did lately. */
export interface FunctionSummary {
  slug: string;
  runs: number;
  failed: number;
  p50_ms: number | null;
  p95_ms: number | null;
  backlog: number;
  running: number;
  last_failed: LastFailure | null;
  buckets: [number, number][];
}

/** A function as it is registered. */
export interface FunctionView {
  slug: string;
  name: string;
  app: string;
  version: number;
  triggers: TriggerView[];
  max_attempts: number;
  url: string;
  is_archived: boolean;
  pause: PauseView | null;
}

/** Why a start waits for more events. */
export type GatherKind = "batch" | "debounce";

/** A batch or debounce that an event waits in. ``run_id`` is the id that its run will have. */
export interface GatheringView {
  run_id: string;
  function: string;
  kind: GatherKind;
  starts_at: string;
}

/** What the HTTP call of an attempt was, beside its content. */
export interface HttpFacts {
  status: number;
  request_id: string;
  sent_bytes: number;
  received_bytes: number;
}

/** A call, or a request, that is being made. */
export interface InProgress {
  replica: string;
  attempt: number;
  max_attempts: number;
}

/** What the function finds in its event. */
export interface Invocation {
  data?: Record<string, Json> | null;
  user?: Record<string, Json> | null;
  v?: string | null;
}

/** The last run of a function that failed. */
export interface LastFailure {
  run_id: string;
  at: string;
  error: string;
}

/** The latest round of the server that answers; null when there was none yet. */
export interface LatestDiagnosis {
  latest: Diagnosis | null;
}

/** A limit, and who has it. */
export interface LimitState {
  rule: string;
  scope: string;
  key: string | null;
  value: string | null;
  limit: number;
  in_use: number;
  used_by: string[];
}

/** How much of a concurrency limit is used. With a key, each value that is used most has its own. */
export interface LimitUse {
  key: string | null;
  value: string | null;
  of: string;
  scope: Scope;
  limit: number;
  used: number;
}

/** What a row is connected with: only what is known is there. */
export interface Links {
  run_id?: string | null;
  function?: string | null;
  event_id?: string | null;
  event_name?: string | null;
  expression?: string | null;
  signal?: string | null;
  until?: string | null;
}

/** A line. */
export interface LogLineView {
  id: string;
  at: string;
  run_id: string;
  function: string;
  step_id: string | null;
  step: string | null;
  attempt_id: string | null;
  attempt: number | null;
  level: "critical" | "debug" | "error" | "info" | "warning";
  logger: string;
  message: string;
  fields: Json;
  is_replayed: boolean;
}

/** Lines, those of one run in their order, those of all the newest first. */
export interface LogPage {
  items: LogLineView[];
  next_cursor: string | null;
  dropped: number;
}

/** The account's password. */
export interface Login {
  password: string;
}

/** Where the clock is now. */
export interface Moved {
  now: string;
  skipped_ms: number;
}

/** An event to send. ``id`` is an idempotency key for 24 hours; a future ``ts`` (Unix ms) delays the runs. */
export interface NewEvent {
  name: string;
  data?: Record<string, Json> | null;
  id?: string | null;
  ts?: number | null;
  user?: Record<string, Json> | null;
  v?: string | null;
  meta?: Record<string, Json> | null;
}

/** An API token as it is shown once. */
export interface NewToken {
  id: string;
  name: string;
  created_at: string;
  last_used_at: string | null;
  token: string;
}

/** What became of an event at a function. */
export type OutcomeKind = "archived" | "gathered" | "no_match" | "no_run" | "skipped" | "started";

/** What became of an event at one function. */
export interface OutcomeView {
  function: string;
  kind: OutcomeKind;
  text: string;
  run_id: string | null;
  status: RunStatus | null;
  reason: string | null;
  term: string | null;
  fires_at: string | null;
}

/** What a run gave back: null where it hasn't ended, or gave nothing. */
export interface OutputView {
  output: Json;
}

/** What becomes of runs that would start (``hold``: they wait, ``drop``: they are skipped), and of those under way. */
export interface PauseBody {
  mode?: PauseMode;
  runs_under_way?: "go_on" | "stop";
}

/** What becomes of the runs that events would start. */
export type PauseMode = "drop" | "hold";

/** A function that starts no runs. */
export interface PauseView {
  since: string;
  mode: PauseMode;
  runs_under_way: "go_on" | "stop";
}

/** What something open in a run waits for. */
export type ReasonKind = "app" | "call" | "deadline" | "event" | "fetch" | "later" | "limit" | "pause" | "queue" | "retry" | "run" | "signal" | "singleton" | "slots" | "throttle" | "timer";

/** Why one thing that a run has open doesn't go on. Which of the last six are there depends on its kind. */
export interface ReasonView {
  kind: ReasonKind;
  text: string;
  release: string;
  step: string | null;
  since: string;
  until: string | null;
  before: number | null;
  event: Sought | null;
  signal: string | null;
  run: Child | null;
  call: InProgress | null;
  limit: LimitState | null;
  error: Seen | null;
}

/** A run that invoked another, or was invoked; ``step`` is the step that did it. */
export interface RelativeView {
  run_id: string;
  function: string;
  status: RunStatus;
  step: string | null;
}

/** The token that was revoked. */
export interface Revoked {
  id: string;
}

/** The payloads of one row of a run's timeline. */
export interface RowView {
  id: string;
  input: Json;
  output: Json;
  error: Json;
  started_at: string | null;
  ended_at: string | null;
}

/** A run that was started, or of which something changed. */
export interface RunChange {
  id: string;
  is_new: boolean;
}

/** Runs, newest first. */
export interface RunPage {
  items: RunSummary[];
  next_cursor: string | null;
  searched_until?: string | null;
}

/** A run with what it is connected with, up to 100 of a kind, and where its time went. */
export interface RunPageView {
  id: string;
  status: RunStatus;
  function: string;
  function_name: string;
  app: string;
  event_id: string;
  event_name: string;
  queued_at: string;
  started_at: string | null;
  ended_at: string | null;
  duration_ms: number | null;
  reason: string | null;
  original_run_id: string | null;
  function_version: number;
  output: Json;
  error: Failure | null;
  waiting: string | null;
  event: EventView | null;
  event_bytes: number;
  output_bytes: number | null;
  parent: RelativeView | null;
  children: RelativeView[];
  sent_events: SentEventView[];
  durations: Durations;
}

/** Where a run is. The last four are final: no edge leaves them. */
export type RunStatus = "cancelled" | "completed" | "failed" | "queued" | "running" | "skipped";

/** A run without its output. */
export interface RunSummary {
  id: string;
  status: RunStatus;
  function: string;
  function_name: string;
  app: string;
  event_id: string;
  event_name: string;
  queued_at: string;
  started_at: string | null;
  ended_at: string | null;
  duration_ms: number | null;
  reason: string | null;
  original_run_id: string | null;
  function_version: number;
  error: string | null;
  event_preview: string | null;
}

/** A run with its event and what became of it. */
export interface RunView {
  id: string;
  status: RunStatus;
  function: string;
  function_name: string;
  app: string;
  event_id: string;
  event_name: string;
  queued_at: string;
  started_at: string | null;
  ended_at: string | null;
  duration_ms: number | null;
  reason: string | null;
  original_run_id: string | null;
  function_version: number;
  output: Json;
  error: Failure | null;
  waiting: string | null;
  event: EventView;
}

/** Runs that ended from ``at`` on, up to the next bucket. */
export interface RunsBucket {
  at: string;
  completed?: number;
  failed?: number;
  cancelled?: number;
  skipped?: number;
}

/** Runs over time, by the time at which they ended. */
export interface RunsStats {
  from: string;
  until: string;
  bucket_ms: number;
  buckets: RunsBucket[];
  totals: RunsTotals;
  counted_from: string | null;
}

/** Runs that ended in the whole time, and those that are open now; of these up to 10,000 are counted. */
export interface RunsTotals {
  completed: number;
  failed: number;
  cancelled: number;
  skipped: number;
  queued: number;
  running: number;
}

/** Who shares the count of a concurrency rule. */
export type Scope = "account" | "env" | "fn";

/** An error of an attempt. */
export interface Seen {
  name: string;
  message: string;
}

/** The step that sent an event. */
export interface SenderView {
  run_id: string;
  step: string | null;
}

/** An event that a step sent. */
export interface SentEventView {
  id: string;
  name: string;
  step: string;
}

/** This server as whoever asks may use it. */
export interface SessionView {
  mode: "dev" | "start";
  is_authenticated: boolean;
  needs_setup: boolean;
  login_refused: string | null;
  version: string;
  environment: string;
  url: string;
  can_demo: boolean;
  can_skip_sleeps: boolean;
}

/** What a set-up link has behind its ``#``, and the password that the account gets. */
export interface Setup {
  token: string;
  password: string;
}

/** How far to move the clock: ``"3d"``, ``"1h30m"``. */
export interface Skip {
  duration: string;
}

/** The event that a wait is for. */
export interface Sought {
  name: string;
  condition: string | null;
}

/** The spans of a run, the first to begin first. */
export interface SpanList {
  items: SpanView[];
}

/** What a span says of its end. */
export type SpanStatus = "error" | "ok" | "unset";

/** A stretch of time in the work on a run, as the app measured it. */
export interface SpanView {
  id: string;
  parent_id: string | null;
  attempt_id: string | null;
  name: string;
  started_at: string;
  ended_at: string;
  duration_ms: number;
  status: SpanStatus;
  attributes: Json;
}

/** A run that an event started. */
export interface StartedRun {
  id: string;
  function: string;
  is_skipped: boolean;
}

/** Where an app serves its functions, such as ``http://localhost:3000/api/inngest``. */
export interface SyncUrl {
  url: string;
}

/** What a sync brought. ``app`` is null when the app registered itself under another URL. */
export interface SyncedApp {
  app: AppView | null;
  is_modified: boolean;
}

/** An event that is on disk, with what it started. */
export interface TakenEvent {
  id: string;
  event_id: string;
  name: string;
  runs: StartedRun[];
}

/** What became of the events, in the order in which they were sent. */
export interface TakenEvents {
  events: TakenEvent[];
}

/** A run with each attempt, sleep and waiting call as a row. All of it is of one moment: ``now``. */
export interface Timeline {
  now: string;
  run: RunPageView;
  rows: TimelineRow[];
}

/** One thing that happened in a run, is happening, or is to happen. */
export interface TimelineRow {
  kind: "attempt" | "job" | "sleep" | "step";
  id: string;
  status: "completed" | "failed" | "lost" | "retrying" | "running" | "sleeping" | "waiting";
  op: string | null;
  step_id: string | null;
  title: string | null;
  attempt: number | null;
  started_at: string | null;
  ended_at: string | null;
  due_at: string | null;
  retry_at: string | null;
  output: Json;
  output_bytes: number | null;
  error: Json;
  error_line: string | null;
  waiting: string | null;
  links: Links | null;
  http: HttpFacts | null;
}

/** The API tokens that are stored, the oldest first; those of the settings are not among them. */
export interface TokenList {
  items: TokenView[];
}

/** What a token is for. */
export interface TokenName {
  name: string;
}

/** An API token, which itself is shown only once. */
export interface TokenView {
  id: string;
  name: string;
  created_at: string;
  last_used_at: string | null;
}

/** What starts a function: an event name, with an optional condition, or a schedule with its next time. */
export interface TriggerView {
  event: string | null;
  expression: string | null;
  cron: string | null;
  next_at: string | null;
}

/** Each endpoint by method and path: what it takes and what it answers. */
export interface Endpoints {
  /** List names of events, with examples. */
  "GET /api/events/names": {
    path: Record<string, never>;
    query: { limit?: number };
    body: undefined;
    answer: EventNames;
  };
  /** Send one event, or a list of them. */
  "POST /api/events": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: NewEvent[] | NewEvent;
    answer: TakenEvents;
  };
  /** List events. */
  "GET /api/events": {
    path: Record<string, never>;
    query: { name?: string | null; ids?: string | null; where?: string | null; received_after?: string | null; received_before?: string | null; internal?: boolean; cursor?: string | null; limit?: number };
    body: undefined;
    answer: EventPage;
  };
  /** Show an event. */
  "GET /api/events/{id}": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: EventDetail;
  };
  /** Count runs over time. */
  "GET /api/runs/stats": {
    path: Record<string, never>;
    query: { from?: string | null; until?: string | null; buckets?: number; function?: string | null; app?: string | null };
    body: undefined;
    answer: RunsStats;
  };
  /** List runs. */
  "GET /api/runs": {
    path: Record<string, never>;
    query: { function?: string | null; app?: string | null; status?: string | null; ids?: string | null; where?: string | null; event_id?: string | null; event_name?: string | null; queued_after?: string | null; queued_before?: string | null; cursor?: string | null; limit?: number };
    body: undefined;
    answer: RunPage;
  };
  /** Show a run. */
  "GET /api/runs/{id}": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: RunView;
  };
  /** Show what a run gave back. */
  "GET /api/runs/{id}/output": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: OutputView;
  };
  /** Show a run's attempts. */
  "GET /api/runs/{id}/timeline": {
    path: { id: string };
    query: { payloads?: boolean; after?: string | null };
    body: undefined;
    answer: Timeline;
  };
  /** Show the payloads of a row of a run's timeline. */
  "GET /api/runs/{id}/rows/{row}": {
    path: { id: string; row: string };
    query: Record<string, never>;
    body: undefined;
    answer: RowView;
  };
  /** Show the configuration that a run began with. */
  "GET /api/runs/{id}/config": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: ConfigView;
  };
  /** Cancel a run. */
  "POST /api/runs/{id}/cancel": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: RunView;
  };
  /** Run again with the same event. */
  "POST /api/runs/{id}/rerun": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: RunView;
  };
  /** Say what became of an event, function by function. */
  "GET /api/events/{id}/explain": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: EventExplanation;
  };
  /** Say why a run isn't running, or how it ended. */
  "GET /api/runs/{id}/explain": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: Explanation;
  };
  /** Show how all functions did. */
  "GET /api/functions/stats": {
    path: Record<string, never>;
    query: { hours?: number };
    body: undefined;
    answer: FunctionSummaries;
  };
  /** Show how a function did. */
  "GET /api/functions/{slug}/stats": {
    path: { slug: string };
    query: { hours?: number; buckets?: number };
    body: undefined;
    answer: FunctionStats;
  };
  /** Show what a function's runs failed with. */
  "GET /api/functions/{slug}/failures": {
    path: { slug: string };
    query: Record<string, never>;
    body: undefined;
    answer: Failures;
  };
  /** List functions. */
  "GET /api/functions": {
    path: Record<string, never>;
    query: { app?: string | null; archived?: boolean };
    body: undefined;
    answer: FunctionList;
  };
  /** Show a function. */
  "GET /api/functions/{slug}": {
    path: { slug: string };
    query: Record<string, never>;
    body: undefined;
    answer: FunctionDetail;
  };
  /** Start a function, whatever its triggers say. */
  "POST /api/functions/{slug}/invoke": {
    path: { slug: string };
    query: Record<string, never>;
    body: Invocation;
    answer: RunView;
  };
  /** Pause a function: it starts no runs. */
  "POST /api/functions/{slug}/pause": {
    path: { slug: string };
    query: Record<string, never>;
    body: PauseBody;
    answer: FunctionView;
  };
  /** Let a paused function go on, with the runs that were held. */
  "POST /api/functions/{slug}/resume": {
    path: { slug: string };
    query: Record<string, never>;
    body: undefined;
    answer: FunctionView;
  };
  /** List apps. */
  "GET /api/apps": {
    path: Record<string, never>;
    query: { archived?: boolean };
    body: undefined;
    answer: AppList;
  };
  /** Ask an app for its functions. */
  "POST /api/apps/sync": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: SyncUrl;
    answer: SyncedApp;
  };
  /** Remove an app: its functions start no more runs, runs in progress go on. */
  "DELETE /api/apps/{name}": {
    path: { name: string };
    query: Record<string, never>;
    body: undefined;
    answer: AppView;
  };
  /** List lines that functions wrote. */
  "GET /api/logs": {
    path: Record<string, never>;
    query: { run_id?: string | null; attempt_id?: string | null; step_id?: string | null; function?: string | null; level?: "critical" | "debug" | "error" | "info" | "warning" | null; text?: string | null; replayed?: boolean; after?: string | null; before?: string | null; from?: string | null; until?: string | null; limit?: number };
    body: undefined;
    answer: LogPage;
  };
  /** List spans of a run. */
  "GET /api/runs/{id}/spans": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: SpanList;
  };
  /** Show what the latest check has found. */
  "GET /api/doctor": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: LatestDiagnosis;
  };
  /** Check everything now, and mend it. */
  "POST /api/doctor": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: Diagnosis;
  };
  /** Show who is asking. */
  "GET /api/session": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: SessionView;
  };
  /** Log in. */
  "POST /api/session": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: Login;
    answer: SessionView;
  };
  /** Log out. */
  "DELETE /api/session": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: SessionView;
  };
  /** Make the account, and log in. */
  "POST /api/setup": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: Setup;
    answer: SessionView;
  };
  /** List API tokens. */
  "GET /api/tokens": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: TokenList;
  };
  /** Make an API token. */
  "POST /api/tokens": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: TokenName;
    answer: NewToken;
  };
  /** Revoke an API token. */
  "DELETE /api/tokens/{id}": {
    path: { id: string };
    query: Record<string, never>;
    body: undefined;
    answer: Revoked;
  };
  /** Show whether the demo app runs. */
  "GET /api/demo": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: undefined;
    answer: DemoView;
  };
  /** Turn the demo app on or off. */
  "POST /api/demo": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: DemoSwitch;
    answer: DemoView;
  };
  /** Stream changes. */
  "GET /api/stream": {
    path: Record<string, never>;
    query: { topics?: string; cursor?: string | null };
    body: undefined;
    answer: never;
  };
  /** Skip the rest of a sleep. */
  "POST /api/runs/{id}/jobs/{job_id}/skip": {
    path: { id: string; job_id: string };
    query: Record<string, never>;
    body: undefined;
    answer: RunView;
  };
  /** Move the clock ahead. */
  "POST /api/skip": {
    path: Record<string, never>;
    query: Record<string, never>;
    body: Skip;
    answer: Moved;
  };
}
