-- stepwell: expand
-- The schema on PostgreSQL 15 and later: the same tables and columns as on SQLite, whose file explains them.
--
-- The tables are in a schema of their own (stepwell, by default), which the runner makes and search_path points to; so
-- no name here is qualified. Text sorts by bytes (collate "C"), as on SQLite, whatever the database's locale: ids are
-- compared with < and >, and a library update of the machine can't break an index. Instants are bigint milliseconds,
-- flags are smallint, payloads are bytea: no driver or session setting changes what is read.

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
  beat_at bigint not null
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
  check ((ended_at is null) = (status in ('queued', 'running'))),
  check ((output is null) = (status in ('queued', 'running', 'skipped')))
) with (
  fillfactor = 85,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 1000
);

create index run_event on run (event_id);
create index run_function on run (function_id, id);
create index run_failed on run (environment, id) where status = 'failed';
create index run_cancelled on run (environment, id) where status = 'cancelled';
create index run_skipped on run (environment, id) where status = 'skipped';

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
  primary key (run_id, id)
);

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
  kind text collate "C" not null check (kind in ('discover', 'step', 'timer')),
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
