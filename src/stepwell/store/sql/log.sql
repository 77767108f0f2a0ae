-- Lines and spans of runs, and the steps that they are at. They are inserted in the group commit, after all that runs need, and go with their run.

-- name: log_runs
-- rows: id text
-- A run that ended long ago takes no more: retention, which deletes it some time later, never meets a line on its way.
select run.id, run.environment, run.function_id
from v
join run on run.id = v.id
where run.ended_at is null
  or run.ended_at > :ended_after

-- name: log_begun
-- rows: run_id text, job_id text, generation bigint, step_id text
-- Of steps that are said to run, those of discoveries under way that aren't done yet. Served by the primary keys.
select v.run_id, v.job_id, v.generation, v.step_id
from v
join job on job.run_id = v.run_id and job.id = v.job_id and job.generation = v.generation
where job.owner is not null
  and job.kind = 'discover'
  and not exists (select 1 from step where step.run_id = v.run_id and step.id = v.step_id)

-- name: log_count
-- rows: run_id text, line_count bigint, line_bytes bigint, span_count bigint, span_bytes bigint,
--   begun_attempt_id text, begun_step_id text, begun_step text, begun_at bigint, begun_ends_call bigint,
--   begun_input bytea
-- Whatever comes is counted; by what comes back the writer knows how much of it is still to be kept.
insert into log_tally (
  run_id, line_count, span_count, byte_count, begun_attempt_id, begun_step_id, begun_step, begun_at, begun_ends_call,
  begun_input
)
select v.run_id, v.line_count, v.span_count, v.line_bytes + v.span_bytes,
  v.begun_attempt_id, v.begun_step_id, v.begun_step, v.begun_at, v.begun_ends_call, v.begun_input
from v
where true
on conflict (run_id) do update
set line_count = log_tally.line_count + excluded.line_count,
  span_count = log_tally.span_count + excluded.span_count,
  byte_count = log_tally.byte_count + case
    when log_tally.line_count < :lines_max and log_tally.span_count < :spans_max then excluded.byte_count
    else 0
  end,
  begun_attempt_id = coalesce(excluded.begun_attempt_id, log_tally.begun_attempt_id),
  begun_step_id = coalesce(excluded.begun_step_id, log_tally.begun_step_id),
  begun_step = coalesce(excluded.begun_step, log_tally.begun_step),
  begun_at = coalesce(excluded.begun_at, log_tally.begun_at),
  begun_ends_call = coalesce(excluded.begun_ends_call, log_tally.begun_ends_call),
  begun_input = case when excluded.begun_attempt_id is null then log_tally.begun_input else excluded.begun_input end
returning run_id, line_count, span_count

-- name: log_insert
-- rows: run_id text, id text, attempt_id text, attempt bigint, step_id text, step text, at bigint, level bigint,
--   logger text, message text, fields bytea, is_replayed bigint, span_id text
insert into log (
  run_id, id, attempt_id, attempt, step_id, step, at, level, logger, message, fields, is_replayed, span_id
)
select v.run_id, v.id, v.attempt_id, v.attempt, v.step_id, v.step, v.at, v.level, v.logger, v.message, v.fields,
  v.is_replayed, v.span_id
from v

-- name: span_insert
-- rows: run_id text, id text, parent_id text, name text, started_at bigint, duration_us bigint, status text,
--   attributes bytea
-- An exporter that had no answer sends again.
insert into span (run_id, id, parent_id, name, started_at, duration_us, status, attributes)
select v.run_id, v.id, v.parent_id, v.name, v.started_at, v.duration_us, v.status, v.attributes
from v
where true
on conflict do nothing

-- name: span_load
-- Served by the primary key. What begins with the spans in it comes before them. Attributes are read up to a number of bytes.
select run_id, id, parent_id, name, started_at, duration_us, status,
  case
    when sum(coalesce(length(attributes), 0)) over (order by started_at, duration_us desc, id) <= :bytes_max
    then attributes
  end,
  length(attributes)
from span
where run_id = :run_id
order by started_at, duration_us desc, id
limit :limit

-- name: attempt_names
-- The ids of a run's attempts, those under way as well, and of their steps. Served by the primary keys.
select id, step_id
from attempt
where run_id = :run_id
union all
select id || '.' || cast(generation as text), step_id
from job
where run_id = :run_id
  and owner is not null

-- name: log_tally_load
select line_count, span_count
from log_tally
where run_id = :run_id

-- name: begun_load
-- The step that was said to run, while it isn't done. Served by the primary keys.
select t.begun_attempt_id, t.begun_step_id, t.begun_step, t.begun_at, t.begun_ends_call, t.begun_input,
  (select count(*) from step where step.run_id = t.run_id)
from log_tally as t
where t.run_id = :run_id
  and t.begun_attempt_id is not null
  and not exists (select 1 from step where step.run_id = t.run_id and step.id = t.begun_step_id)

-- name: log_floor
-- Where a look back over a number of lines ends. Served by log_newest.
select id
from log
where id < :before
order by id desc
limit 1 offset :number

-- name: log_ceiling
-- The same ahead.
select id
from log
where id > :after
order by id
limit 1 offset :number

-- name: prune_log
-- rows: run_id text
delete from log
where run_id in (select v.run_id from v)

-- name: prune_spans
-- rows: run_id text
delete from span
where run_id in (select v.run_id from v)

-- name: prune_tallies
-- rows: run_id text
delete from log_tally
where run_id in (select v.run_id from v)

-- name: prune_some_log
delete from log
where run_id = :run_id
  and id in (select id from log where run_id = :run_id order by id limit :limit)
returning id

-- name: prune_some_spans
delete from span
where run_id = :run_id
  and id in (select id from span where run_id = :run_id order by id limit :limit)
returning id
