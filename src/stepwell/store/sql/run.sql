-- Queries over runs, their steps and attempts.
--
-- Locks are always taken in this order: replica, environments, schedules, runs, jobs, events; sorted within each. SQLite
-- has one writer and needs none; the order of the statements is the same on both databases.

-- name: run_versions
-- rows: id text
select run.id, run.version, run.status
from v
join run on run.id = v.id

-- name: run_insert
-- rows: id text, environment text, function_id text, function_version bigint, event_id text, status text,
--   queued_at bigint, started_at bigint, ended_at bigint, reason text, original_run_id text, partition text,
--   parent_run_id text, parent_step_id text, is_batch bigint
insert into run (
  id, environment, function_id, function_version, event_id, status, version, request_version, is_plan_forced,
  queued_at, started_at, ended_at, reason, original_run_id, partition, parent_run_id, parent_step_id, is_batch
)
select v.id, v.environment, v.function_id, v.function_version, v.event_id, v.status, 0, -1, 0,
  v.queued_at, v.started_at, v.ended_at, v.reason, v.original_run_id, v.partition, v.parent_run_id, v.parent_step_id,
  v.is_batch
from v

-- name: run_update
-- rows: id text, version bigint, status text, request_version bigint, is_plan_forced bigint, started_at bigint,
--   ended_at bigint, output bytea, reason text
update run
set version = v.version,
  status = v.status,
  request_version = v.request_version,
  is_plan_forced = v.is_plan_forced,
  started_at = v.started_at,
  ended_at = v.ended_at,
  output = v.output,
  reason = v.reason
from v
where run.id = v.id

-- name: step_insert
-- rows: run_id text, id text, position bigint, op text, title text, memo bytea, original bytea, started_at bigint,
--   ended_at bigint, attempt_id text, event_id text, input bytea
insert into step (
  run_id, id, position, op, title, memo, original, started_at, ended_at, attempt_id, event_id, input
)
select v.run_id, v.id, v.position, v.op, v.title, v.memo, v.original, v.started_at, v.ended_at, v.attempt_id,
  v.event_id, v.input
from v

-- name: attempt_insert
-- rows: run_id text, id text, step_id text, title text, attempt bigint, started_at bigint, ended_at bigint,
--   outcome text, error bytea, retry_at bigint, http_status bigint, sent_bytes bigint, received_bytes bigint
insert into attempt (
  run_id, id, step_id, title, attempt, started_at, ended_at, outcome, error, retry_at, http_status, sent_bytes,
  received_bytes
)
select v.run_id, v.id, v.step_id, v.title, v.attempt, v.started_at, v.ended_at, v.outcome, v.error, v.retry_at,
  v.http_status, v.sent_bytes, v.received_bytes
from v
where true
on conflict do nothing

-- name: run_load
-- rows: id text
select run.id, run.environment, run.function_id, run.function_version, run.event_id, run.queued_at, run.status,
  run.version, run.request_version, run.is_plan_forced, run.started_at, run.ended_at, run.output, run.reason,
  run.original_run_id, run.partition, run.parent_run_id, run.parent_step_id, run.is_batch, event.body
from v
join run on run.id = v.id
join event on event.id = run.event_id

-- name: step_load
-- rows: run_id text
select step.run_id, step.id, step.position, step.op, step.title, step.memo, step.started_at, step.ended_at,
  step.attempt_id, step.original, step.event_id
from v
join step on step.run_id = v.run_id
order by step.run_id, step.position

-- name: job_load
-- rows: run_id text
select job.run_id, job.id, job.partition, job.kind, job.step_id, job.due_at, job.created_at, job.max_attempts,
  job.attempt, job.title, job.op, job.stack_current, job.is_joined, job.lost_count, job.generation, job.owner,
  job.leased_at, job.payload,
  coalesce(job.memo, (select event.body from event where event.id = job.resolved_by)), job.resolved_by
from v
join job on job.run_id = v.run_id
order by job.run_id, job.created_at, job.id

-- name: attempt_load
select run_id, id, step_id, title, attempt, started_at, ended_at, outcome, error, retry_at, http_status, sent_bytes,
  received_bytes
from attempt
where run_id = :run_id
order by started_at, id
