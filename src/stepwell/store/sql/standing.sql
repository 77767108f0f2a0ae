-- What is asked of a run that somebody wonders about: each query is a few look-ups, whatever waits beside it.

-- name: standing_waits
-- Served by the primary key.
select run_id, job_id, environment, kind, name, path, value, condition, created_at, expires_at
from wait
where run_id = :run_id
  and kind <> 'cancel'

-- name: standing_failures
-- Served by the primary key: of one run's attempts, those that are tried again.
select run_id, id, step_id, title, attempt, started_at, ended_at, outcome, error, retry_at, null, null, null
from attempt
where run_id = :run_id
  and outcome = 'error'
order by ended_at desc, id desc
limit :limit

-- name: standing_before
-- rows: id text, partition text, due_at bigint
-- Served by job_due: how many jobs are before these in their lines, counted up to a limit.
select v.id, (
  select count(*)
  from (
    select 1
    from job
    where job.partition = v.partition
      and job.owner is null
      and job.due_at < v.due_at
    limit :limit
  ) as ahead
)
from v

-- name: standing_users
-- Served by the primary key.
select run_id
from slot
where key = :key
order by run_id, job_id
limit :limit
