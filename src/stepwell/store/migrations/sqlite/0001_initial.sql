-- stepwell: expand
-- The schema. Instants are Unix milliseconds UTC; payloads are blobs of canonical JSON.
--
-- event ──▶ run ──▶ job (what is to do)      attempt (what was tried)      step (what is known: the memo)
--
-- A run that isn't finished always has at least one job. A job with an owner is leased to that replica; the lease
-- lives as long as the replica's row. Hot tables have no foreign keys, and no index on a column that a step changes
-- but the due index, which holds only jobs that nobody has.

create table environment (
  id text primary key,
  name text not null unique,
  -- Rises with each sync: ingest is refused when it was planned with older functions.
  revision integer not null default 0,
  created_at integer not null
) strict, without rowid;

create table setting (
  key text primary key,
  value text not null
) strict, without rowid;

create table replica (
  id text primary key,
  started_at integer not null,
  beat_at integer not null,
  -- Rises with what it does: by it others know that there is something to look at.
  work integer not null default 0
) strict, without rowid;

create table app (
  id text primary key,
  environment text not null,
  name text not null,
  transport text not null check (transport in ('http', 'connect', 'embedded')),
  url text not null,
  sdk text not null default '',
  framework text not null default '',
  version text not null default '',
  checksum text not null default '',
  synced_at integer not null,
  archived_at integer,
  unique (environment, name)
) strict, without rowid;

create table function (
  id text primary key,
  environment text not null,
  app_id text not null references app (id),
  slug text not null,
  name text not null,
  version integer not null check (version > 0),
  archived_at integer,
  paused_at integer,
  -- hold: new runs wait; drop: they are skipped.
  pause_mode text check (pause_mode in ('hold', 'drop')),
  -- Runs under way wait, too.
  is_stopped integer not null default 0 check (is_stopped in (0, 1)),
  unique (environment, slug)
) strict, without rowid;

-- Each version is kept: a run shows the configuration that it ran with.
create table function_version (
  function_id text not null references function (id),
  version integer not null,
  config blob not null,
  created_at integer not null,
  primary key (function_id, version)
) strict, without rowid;

create table schedule (
  function_id text not null references function (id),
  cron text not null,
  next_at integer,
  primary key (function_id, cron)
) strict, without rowid;

create index schedule_due on schedule (next_at) where next_at is not null;

create table event (
  id text primary key check (length(id) = 26),
  environment text not null,
  name text not null,
  event_id text not null,
  ts integer not null,
  received_at integer not null,
  is_internal integer not null check (is_internal in (0, 1)),
  body blob not null,
  -- The event as it came, where the canonical form had to round a number.
  original blob
) strict, without rowid;

create index event_name on event (environment, name, id);

-- The window in which an event id starts a function once (protocol 2.4).
create table event_key (
  function_id text not null,
  event_id text not null,
  expires_at integer not null,
  primary key (function_id, event_id)
) strict, without rowid;

create table run (
  id text primary key check (length(id) = 26),
  environment text not null,
  function_id text not null,
  function_version integer not null,
  event_id text not null,
  status text not null check (status in ('queued', 'running', 'completed', 'failed', 'cancelled', 'skipped')),
  -- Rises with each commit; a transition that was computed from an older one is stale.
  version integer not null check (version >= 0),
  request_version integer not null,
  is_plan_forced integer not null check (is_plan_forced in (0, 1)),
  queued_at integer not null,
  started_at integer,
  ended_at integer,
  output blob,
  reason text,
  original_run_id text,
  -- Of its first call.
  partition text not null,
  parent_run_id text,
  parent_step_id text,
  is_batch integer not null check (is_batch in (0, 1)),
  -- Final means final, and status and output appear together.
  check ((ended_at is null) = (status in ('queued', 'running'))),
  check ((output is null) = (status in ('queued', 'running', 'skipped')))
) strict, without rowid;

create index run_event on run (event_id);
create index run_function on run (function_id, id);
-- The runs that a run's steps invoked.
create index run_parent on run (parent_run_id) where parent_run_id is not null;
-- Few runs haven't ended. It is written when a run begins and when it ends; a step never touches it.
create index run_open on run (id) where ended_at is null;
-- Runs that went wrong are few, and looked for. Each index holds one final status, so a step never touches it.
create index run_failed on run (environment, id, function_id, status) where status = 'failed';
create index run_cancelled on run (environment, id, function_id, status) where status = 'cancelled';
create index run_skipped on run (environment, id, function_id, status) where status = 'skipped';
-- What is counted over time, without a look at the runs themselves. It is written once, when a run ends.
create index run_ended on run (environment, ended_at, status, function_id, started_at, queued_at)
  where ended_at is not null;

create table step (
  run_id text not null,
  id text not null,
  position integer not null check (position >= 0),
  op text not null,
  title text not null,
  memo blob not null,
  original blob,
  started_at integer not null,
  ended_at integer not null,
  attempt_id text,
  -- The event that ended its wait, or the first of those that it sent.
  event_id text,
  -- What it was given, without secrets, to be shown.
  input blob,
  primary key (run_id, id)
) strict, without rowid;

-- The steps that an event ended, and those that sent events: few, and written once.
create index step_event on step (event_id) where event_id is not null;

create table attempt (
  run_id text not null,
  id text not null,
  step_id text not null,
  title text not null,
  attempt integer not null check (attempt >= 0),
  started_at integer not null,
  ended_at integer not null,
  outcome text not null check (outcome in ('ok', 'error', 'failed', 'lost')),
  error blob,
  retry_at integer,
  -- Of the answer that came, if one did.
  http_status integer,
  sent_bytes integer,
  received_bytes integer,
  primary key (run_id, id)
) strict, without rowid;

create table job (
  run_id text not null,
  id text not null,
  partition text not null,
  kind text not null check (kind in ('discover', 'step', 'fetch', 'timer', 'wait', 'cancel', 'timeout')),
  step_id text not null,
  title text not null,
  op text not null,
  attempt integer not null check (attempt >= 0),
  max_attempts integer not null check (max_attempts > attempt),
  stack_current integer not null,
  is_joined integer not null check (is_joined in (0, 1)),
  lost_count integer not null,
  due_at integer not null,
  created_at integer not null,
  owner text,
  generation integer not null,
  leased_at integer,
  -- Of a fetch: the request. Else what the step was given, to be shown.
  payload blob,
  -- Of a wait that was resolved: what its step becomes, or the event that is it.
  memo blob,
  resolved_by text,
  primary key (run_id, id),
  check ((owner is null) = (leased_at is null))
) strict, without rowid;

create index job_due on job (partition, due_at) where owner is null;
-- Replicas look for jobs that are leased to them, and to dead ones.
create index job_owner on job (owner) where owner is not null;

-- What runs wait for, in the form in which what comes finds it. An event of the name finds the waits whose value it has at
-- their path (both empty: any). A wait has a job, due at its time-out; a cancel rule gets one when its event comes.
create table wait (
  run_id text not null,
  job_id text not null,
  environment text not null,
  kind text not null check (kind in ('event', 'signal', 'cancel')),
  name text not null,
  path text not null,
  value text not null,
  condition text,
  created_at integer not null,
  expires_at integer not null,
  primary key (run_id, job_id)
) strict, without rowid;

create index wait_match on wait (environment, name, path, value, run_id, job_id) where kind <> 'signal';
create index wait_signal on wait (environment, name) where kind = 'signal';

-- Events that end more waits than one transaction should: the rest of them, from a place on (design 5.6). Later events of
-- the name get in line, so that the first match wins; waits of the name don't time out meanwhile.
create table sweep (
  event_id text primary key,
  environment text not null,
  name text not null,
  received_at integer not null,
  after_path text not null,
  after_run_id text not null,
  after_job_id text not null
) strict, without rowid;

create index sweep_name on sweep (environment, name, event_id);

-- Signals that were sent before anybody waited for them, and are to be kept.
create table signal (
  environment text not null,
  name text not null,
  id text not null,
  data blob not null,
  sent_at integer not null,
  primary key (environment, name, id)
) strict, without rowid;

-- Who uses a concurrency key: a leased job, or, with an empty job, a run from its first call to its end.
create table slot (
  key text not null,
  run_id text not null,
  job_id text not null,
  primary key (key, run_id, job_id)
) strict, without rowid;

create index slot_run on slot (run_id);

-- The state of rate limits and throttles; after its expiry it says nothing.
create table flow (
  key text primary key,
  state blob not null,
  expires_at integer not null
) strict, without rowid;

-- Events that wait to start a run together: a batch, or a debounce. The run gets the id of its gathering.
create table gathering (
  run_id text primary key,
  environment text not null,
  function_id text not null,
  kind text not null check (kind in ('batch', 'debounce')),
  key text not null,
  version integer not null,
  first_at integer not null,
  due_at integer not null,
  event_count integer not null,
  byte_count integer not null,
  -- A full batch takes no more.
  is_open integer not null check (is_open in (0, 1))
) strict, without rowid;

create unique index gathering_key on gathering (function_id, key) where is_open = 1;
create index gathering_due on gathering (due_at);

-- The events of a gathering, and later of its run.
create table gathered (
  run_id text not null,
  event_id text not null,
  primary key (run_id, event_id)
) strict, without rowid;

create index gathered_event on gathered (event_id);

-- Lines that user code wrote in runs: read by run, in their order, or all of them from the newest on. The id is of the
-- time at which the server took a line in, and the instant of the time at which the app wrote it.
create table log (
  run_id text not null,
  id text not null check (length(id) = 26),
  attempt_id text,
  attempt integer,
  step_id text,
  -- The step's name, which the run may not know yet.
  step text not null,
  at integer not null,
  level integer not null check (level between 0 and 100),
  logger text not null,
  message text not null,
  fields blob,
  is_replayed integer not null check (is_replayed in (0, 1)),
  span_id text,
  primary key (run_id, id)
) strict, without rowid;

create index log_newest on log (id);

-- OpenTelemetry's spans of runs, by the ids that the app gave them.
create table span (
  run_id text not null,
  id text not null,
  parent_id text,
  name text not null,
  started_at integer not null,
  duration_us integer not null check (duration_us >= 0),
  status text not null check (status in ('unset', 'ok', 'error')),
  attributes blob,
  primary key (run_id, id)
) strict, without rowid;

-- How many lines and spans came for a run, those that were too many as well, and how large the kept ones are; and the step
-- that its discovery under way was said to be at.
create table log_tally (
  run_id text primary key,
  line_count integer not null,
  span_count integer not null,
  byte_count integer not null,
  begun_attempt_id text,
  begun_step_id text,
  begun_step text,
  begun_at integer,
  begun_ends_call integer check (begun_ends_call in (0, 1)),
  begun_input blob,
  check ((begun_attempt_id is null) = (begun_step_id is null)),
  check ((begun_attempt_id is null) = (begun_step is null)),
  check ((begun_attempt_id is null) = (begun_at is null)),
  check ((begun_attempt_id is null) = (begun_ends_call is null))
) strict, without rowid;

-- How much a function had to do, minute by minute: the most that was seen at once of calls that were due and waited, of
-- calls in progress, and of runs that the function's own limit counts. A minute without a row had nothing.
create table sample (
  function_id text not null,
  -- When the minute began.
  at integer not null,
  backlog integer not null check (backlog >= 0),
  running integer not null check (running >= 0),
  runs_running integer not null check (runs_running >= 0),
  primary key (function_id, at)
) strict, without rowid;

-- Who may come in. Of what opens a door only a hash is kept. There is one account at most; until it is made, each start
-- of a server makes a set-up link, by which it can be.
create table account (
  id text primary key check (id = 'admin'),
  password text not null,
  created_at integer not null
) strict, without rowid;

create table setup_link (
  hash text primary key,
  expires_at integer not null
) strict, without rowid;

create table session (
  hash text primary key,
  created_at integer not null,
  expires_at integer not null
) strict, without rowid;

create table api_token (
  id text primary key,
  name text not null,
  hash text not null unique,
  created_at integer not null,
  -- To the hour.
  last_used_at integer
) strict, without rowid;
