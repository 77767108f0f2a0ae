-- stepwell: expand
-- The schema on PostgreSQL 15 and later: the same tables and columns as on SQLite, whose file explains them.
--
-- The tables are in a schema of their own (stepwell, by default), which the runner makes and search_path points to; so
-- no name here is qualified. Text sorts by bytes (collate "C"), as on SQLite, whatever the database's locale: ids are
-- compared with < and >, and a library update of the machine can't break an index. Instants are bigint milliseconds,
-- flags are smallint, payloads are bytea: no driver or session setting changes what is read.

-- What SQLite has by itself: the place, from 1, of some bytes in others.
create function instr(whole bytea, piece bytea) returns integer
language sql immutable strict parallel safe
as 'select position(piece in whole)';

create table environment (
  id text collate "C" primary key,
  name text collate "C" not null unique,
  revision integer not null default 0,
  created_at bigint not null
);

create table setting (
  key text collate "C" primary key,
  value text collate "C" not null
);

-- A beat is a HOT update, as long as no index holds beat_at: the reaper reads the few rows one by one.
create table replica (
  id text collate "C" primary key,
  started_at bigint not null,
  beat_at bigint not null,
  work bigint not null default 0
);

create table app (
  id text collate "C" primary key,
  environment text collate "C" not null,
  name text collate "C" not null,
  transport text collate "C" not null check (transport in ('http', 'connect', 'embedded')),
  url text collate "C" not null,
  sdk text collate "C" not null default '',
  framework text collate "C" not null default '',
  version text collate "C" not null default '',
  checksum text collate "C" not null default '',
  synced_at bigint not null,
  archived_at bigint,
  unique (environment, name)
);

create table function (
  id text collate "C" primary key,
  environment text collate "C" not null,
  app_id text collate "C" not null references app (id),
  slug text collate "C" not null,
  name text collate "C" not null,
  version integer not null check (version > 0),
  archived_at bigint,
  paused_at bigint,
  -- hold: new runs wait; drop: they are skipped.
  pause_mode text collate "C" check (pause_mode in ('hold', 'drop')),
  -- Runs under way wait, too.
  is_stopped smallint not null default 0 check (is_stopped in (0, 1)),
  unique (environment, slug)
);

create table function_version (
  function_id text collate "C" not null references function (id),
  version integer not null,
  config bytea not null,
  created_at bigint not null,
  primary key (function_id, version)
);

create table schedule (
  function_id text collate "C" not null references function (id),
  cron text collate "C" not null,
  next_at bigint,
  primary key (function_id, cron)
);

create index schedule_due on schedule (next_at) where next_at is not null;

-- event, step and attempt are only inserted, until retention deletes: autovacuum's own thresholds serve them.
create table event (
  id text collate "C" primary key check (length(id) = 26),
  environment text collate "C" not null,
  name text collate "C" not null,
  event_id text collate "C" not null,
  ts bigint not null,
  received_at bigint not null,
  is_internal smallint not null check (is_internal in (0, 1)),
  body bytea not null,
  original bytea
);

create index event_name on event (environment, name, id);

create table event_key (
  function_id text collate "C" not null,
  event_id text collate "C" not null,
  expires_at bigint not null,
  primary key (function_id, event_id)
);

-- Each step updates its run's row. Where the page has room for the new version, that is a HOT update, which writes to
-- no index, and the old version goes when the page is next looked at: hence the room. Only a change of status (from
-- queued, and to the end) touches the indexes, since some name it. Of a long history a fifth, the default threshold,
-- would be millions of dead rows.
create table run (
  id text collate "C" primary key check (length(id) = 26),
  environment text collate "C" not null,
  function_id text collate "C" not null,
  function_version integer not null,
  event_id text collate "C" not null,
  status text collate "C" not null
    check (status in ('queued', 'running', 'completed', 'failed', 'cancelled', 'skipped')),
  version integer not null check (version >= 0),
  request_version integer not null,
  is_plan_forced smallint not null check (is_plan_forced in (0, 1)),
  queued_at bigint not null,
  started_at bigint,
  ended_at bigint,
  output bytea,
  reason text collate "C",
  original_run_id text collate "C",
  -- Of its first call.
  partition text collate "C" not null,
  parent_run_id text collate "C",
  parent_step_id text collate "C",
  is_batch smallint not null check (is_batch in (0, 1)),
  check ((ended_at is null) = (status in ('queued', 'running'))),
  check ((output is null) = (status in ('queued', 'running', 'skipped')))
) with (
  fillfactor = 85,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 1000
);

create index run_event on run (event_id);
create index run_function on run (function_id, id);
-- The runs that a run's steps invoked.
create index run_parent on run (parent_run_id) where parent_run_id is not null;
-- Few runs haven't ended. It is written when a run begins and when it ends; a step never touches it.
create index run_open on run (id) where ended_at is null;
create index run_failed on run (environment, id, function_id, status) where status = 'failed';
create index run_cancelled on run (environment, id, function_id, status) where status = 'cancelled';
create index run_skipped on run (environment, id, function_id, status) where status = 'skipped';
-- What is counted over time, without a look at the runs themselves. It is written once, when a run ends.
create index run_ended on run (environment, ended_at, status, function_id, started_at, queued_at)
  where ended_at is not null;

create table step (
  run_id text collate "C" not null,
  id text collate "C" not null,
  position integer not null check (position >= 0),
  op text collate "C" not null,
  title text collate "C" not null,
  memo bytea not null,
  original bytea,
  started_at bigint not null,
  ended_at bigint not null,
  attempt_id text collate "C",
  -- The event that ended its wait, or the first of those that it sent.
  event_id text collate "C",
  -- What it was given, without secrets, to be shown.
  input bytea,
  primary key (run_id, id)
);

-- The steps that an event ended, and those that sent events: few, and written once.
create index step_event on step (event_id) where event_id is not null;

create table attempt (
  run_id text collate "C" not null,
  id text collate "C" not null,
  step_id text collate "C" not null,
  title text collate "C" not null,
  attempt smallint not null check (attempt >= 0),
  started_at bigint not null,
  ended_at bigint not null,
  outcome text collate "C" not null check (outcome in ('ok', 'error', 'failed', 'lost')),
  error bytea,
  retry_at bigint,
  -- Of the answer that came, if one did.
  http_status integer,
  sent_bytes integer,
  received_bytes integer,
  primary key (run_id, id)
);

-- The queue: every row is deleted soon, so that dead rows are a multiple of the living ones, and a search of the due
-- index has to step over them until vacuum has been there. So it comes early and without pauses, whatever the number
-- of sleeping jobs. It doesn't give pages at the end back to the file system: that takes an exclusive lock, and the
-- queue needs them again at once. It has no room for HOT updates: a claim changes owner, which both partial indexes name, and
-- most jobs are born leased and never updated.
create table job (
  run_id text collate "C" not null,
  id text collate "C" not null,
  partition text collate "C" not null,
  kind text collate "C" not null
    check (kind in ('discover', 'step', 'fetch', 'timer', 'wait', 'cancel', 'timeout')),
  step_id text collate "C" not null,
  title text collate "C" not null,
  op text collate "C" not null,
  attempt smallint not null check (attempt >= 0),
  max_attempts smallint not null check (max_attempts > attempt),
  stack_current integer not null,
  is_joined smallint not null check (is_joined in (0, 1)),
  lost_count smallint not null,
  due_at bigint not null,
  created_at bigint not null,
  owner text collate "C",
  generation integer not null,
  leased_at bigint,
  -- Of a fetch: the request. Else what the step was given, to be shown.
  payload bytea,
  -- Of a wait that was resolved: what its step becomes, or the event that is it.
  memo bytea,
  resolved_by text collate "C",
  primary key (run_id, id),
  check ((owner is null) = (leased_at is null))
) with (
  autovacuum_vacuum_scale_factor = 0.01,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);

create index job_due on job (partition, due_at) where owner is null;
create index job_owner on job (owner) where owner is not null;

-- What runs wait for, in the form in which what comes finds it. An event of the name finds the waits whose value it has at
-- their path (both empty: any). A wait has a job, due at its time-out; a cancel rule gets one when its event comes.
create table wait (
  run_id text collate "C" not null,
  job_id text collate "C" not null,
  environment text collate "C" not null,
  kind text collate "C" not null check (kind in ('event', 'signal', 'cancel')),
  name text collate "C" not null,
  path text collate "C" not null,
  value text collate "C" not null,
  condition text collate "C",
  created_at bigint not null,
  expires_at bigint not null,
  primary key (run_id, job_id)
);

create index wait_match on wait (environment, name, path, value, run_id, job_id) where kind <> 'signal';
create index wait_signal on wait (environment, name) where kind = 'signal';

-- Events that end more waits than one transaction should: the rest of them, from a place on (design 5.6). Later events of
-- the name get in line, so that the first match wins; waits of the name don't time out meanwhile.
create table sweep (
  event_id text collate "C" primary key,
  environment text collate "C" not null,
  name text collate "C" not null,
  received_at bigint not null,
  after_path text collate "C" not null,
  after_run_id text collate "C" not null,
  after_job_id text collate "C" not null
);

create index sweep_name on sweep (environment, name, event_id);

-- Signals that were sent before anybody waited for them, and are to be kept.
create table signal (
  environment text collate "C" not null,
  name text collate "C" not null,
  id text collate "C" not null,
  data bytea not null,
  sent_at bigint not null,
  primary key (environment, name, id)
);

-- Who uses a concurrency key: a leased job, or, with an empty job, a run from its first call to its end.
create table slot (
  key text collate "C" not null,
  run_id text collate "C" not null,
  job_id text collate "C" not null,
  primary key (key, run_id, job_id)
);

create index slot_run on slot (run_id);

-- The state of rate limits and throttles; after its expiry it says nothing.
create table flow (
  key text collate "C" primary key,
  state bytea not null,
  expires_at bigint not null
);

-- Events that wait to start a run together: a batch, or a debounce. The run gets the id of its gathering.
create table gathering (
  run_id text collate "C" primary key,
  environment text collate "C" not null,
  function_id text collate "C" not null,
  kind text collate "C" not null check (kind in ('batch', 'debounce')),
  key text collate "C" not null,
  version integer not null,
  first_at bigint not null,
  due_at bigint not null,
  event_count integer not null,
  byte_count bigint not null,
  -- A full batch takes no more.
  is_open smallint not null check (is_open in (0, 1))
);

create unique index gathering_key on gathering (function_id, key) where is_open = 1;
create index gathering_due on gathering (due_at);

-- The events of a gathering, and later of its run.
create table gathered (
  run_id text collate "C" not null,
  event_id text collate "C" not null,
  primary key (run_id, event_id)
);

create index gathered_event on gathered (event_id);

-- Lines that user code wrote in runs: read by run, in their order, or all of them from the newest on. The id is of the
-- time at which the server took a line in, and the instant of the time at which the app wrote it.
create table log (
  run_id text collate "C" not null,
  id text collate "C" not null check (length(id) = 26),
  attempt_id text collate "C",
  attempt smallint,
  step_id text collate "C",
  -- The step's name, which the run may not know yet.
  step text collate "C" not null,
  at bigint not null,
  level smallint not null check (level between 0 and 100),
  logger text collate "C" not null,
  message text collate "C" not null,
  fields bytea,
  is_replayed smallint not null check (is_replayed in (0, 1)),
  span_id text collate "C",
  primary key (run_id, id)
);

create index log_newest on log (id);

-- OpenTelemetry's spans of runs, by the ids that the app gave them.
create table span (
  run_id text collate "C" not null,
  id text collate "C" not null,
  parent_id text collate "C",
  name text collate "C" not null,
  started_at bigint not null,
  duration_us bigint not null check (duration_us >= 0),
  status text collate "C" not null check (status in ('unset', 'ok', 'error')),
  attributes bytea,
  primary key (run_id, id)
);

-- How many lines and spans came for a run, those that were too many as well, and how large the kept ones are; and the step
-- that its discovery under way was said to be at.
create table log_tally (
  run_id text collate "C" primary key,
  line_count integer not null,
  span_count integer not null,
  byte_count bigint not null,
  begun_attempt_id text collate "C",
  begun_step_id text collate "C",
  begun_step text collate "C",
  begun_at bigint,
  begun_ends_call smallint check (begun_ends_call in (0, 1)),
  begun_input bytea,
  check ((begun_attempt_id is null) = (begun_step_id is null)),
  check ((begun_attempt_id is null) = (begun_step is null)),
  check ((begun_attempt_id is null) = (begun_at is null)),
  check ((begun_attempt_id is null) = (begun_ends_call is null))
) with (
  -- Counted up in place while a run writes.
  fillfactor = 85
);

create table sample (
  function_id text collate "C" not null,
  at bigint not null,
  backlog integer not null check (backlog >= 0),
  running integer not null check (running >= 0),
  runs_running integer not null check (runs_running >= 0),
  primary key (function_id, at)
);

create table account (
  id text collate "C" primary key check (id = 'admin'),
  password text collate "C" not null,
  created_at bigint not null
);

create table setup_link (
  hash text collate "C" primary key,
  expires_at bigint not null
);

create table session (
  hash text collate "C" primary key,
  created_at bigint not null,
  expires_at bigint not null
);

create table api_token (
  id text collate "C" primary key,
  name text collate "C" not null,
  hash text collate "C" not null unique,
  created_at bigint not null,
  last_used_at bigint
);
