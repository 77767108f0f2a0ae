-- The reconciler: what breaks a promise is found by walking small tables by their keys, a piece at a time, each piece in one
-- consistent view. What is found is looked at again by the statement that mends it: others may have done so.
--
-- Counts of at most one row stand for exists: with that, PostgreSQL may read whole tables first.

-- name: check_runs
-- Served by run_open, which holds only runs that haven't ended: each has a job that brings it on.
select run.id,
  case
    when (
      select count(*)
      from (select 1 from job where job.run_id = run.id and job.kind not in ('cancel', 'timeout') limit 1) as driver
    ) = 0 then 'stuck_run'
  end
from run
where run.ended_at is null
  and run.id > :after
order by run.id
limit :limit

-- name: check_jobs
-- Served by the primary key. What a run got just when it ended is dropped by whoever claims it.
select job.run_id, job.id,
  case
    when job.created_at <= :before
      and (
        select count(*)
        from run
        where run.id = job.run_id
          and (run.ended_at is null or run.ended_at > :before)
      ) = 0 then 'job_of_ended_run'
  end
from job
where (job.run_id, job.id) > (:after, :after_job)
order by job.run_id, job.id
limit :limit

-- name: check_waits
-- Served by the primary key. A wait that a sweep has still to look at (sql/wait.sql) is not over.
select wait.run_id, wait.job_id,
  case
    when wait.created_at > :before then null
    when (
      select count(*)
      from run
      where run.id = wait.run_id
        and (run.ended_at is null or run.ended_at > :before)
    ) = 0 then 'wait_of_ended_run'
    when wait.expires_at <= :before
      and (
        select count(*)
        from (
          select 1 from sweep where sweep.environment = wait.environment and sweep.name = wait.name limit 1
        ) as swept
      ) = 0 then 'expired_wait'
    when wait.kind <> 'cancel'
      and (select count(*) from job where job.run_id = wait.run_id and job.id = wait.job_id) = 0
      then 'wait_without_job'
  end
from wait
where (wait.run_id, wait.job_id) > (:after, :after_job)
order by wait.run_id, wait.job_id
limit :limit

-- name: check_slots
-- Served by the primary key. A slot is of a run that hasn't ended or, with a job, of one that is leased.
select slot.key, slot.run_id, slot.job_id,
  case
    when (select count(*) from run where run.id = slot.run_id and run.ended_at is null) = 0 then 'slot_of_ended_run'
    when slot.job_id <> ''
      and (
        select count(*)
        from job
        where job.run_id = slot.run_id
          and job.id = slot.job_id
          and job.owner is not null
      ) = 0 then 'slot_without_lease'
  end
from slot
where (slot.key, slot.run_id, slot.job_id) > (:after, :after_run, :after_job)
order by slot.key, slot.run_id, slot.job_id
limit :limit

-- name: check_flow
-- Served by the primary key.
select key, case when expires_at <= :now then 'expired_state' end
from flow
where key > :after
order by key
limit :limit

-- name: check_signals
-- Served by the primary key.
select environment, name, id, case when sent_at <= :sent_before then 'expired_signal' end
from signal
where (environment, name, id) > (:after, :after_name, :after_id)
order by environment, name, id
limit :limit

-- name: check_gatherings
-- Served by the primary key.
select gathering.run_id,
  case
    when (select count(*) from function where function.id = gathering.function_id) = 0 then 'unknown_gathering'
    when gathering.due_at <= :before then 'overdue_gathering'
  end
from gathering
where gathering.run_id > :after
order by gathering.run_id
limit :limit

-- name: repair_undriven
-- rows: id text
-- After the runs were locked: those that still have nothing which brings them on.
select v.id
from v
where (select count(*) from job where job.run_id = v.id and job.kind not in ('cancel', 'timeout')) = 0

-- name: repair_runs
-- rows: id text
-- A new version: a replica that has the run in memory may think that its jobs are there, and reads it anew.
update run
set version = version + 1
where id in (select v.id from v)
returning id

-- name: repair_jobs
-- rows: run_id text, id text
delete from job
where (run_id, id) in (select v.run_id, v.id from v)
  and (select count(*) from run where run.id = job.run_id and run.ended_at is null) = 0
returning run_id

-- name: repair_waits
-- rows: run_id text, job_id text
delete from wait
where (run_id, job_id) in (select v.run_id, v.job_id from v)
returning run_id

-- name: repair_slots
-- rows: key text, run_id text, job_id text
-- The keys are locked with the fence: nobody takes the slot anew meanwhile.
delete from slot
where (key, run_id, job_id) in (select v.key, v.run_id, v.job_id from v)
  and (
    (select count(*) from run where run.id = slot.run_id and run.ended_at is null) = 0
    or (
      slot.job_id <> ''
      and (
        select count(*)
        from job
        where job.run_id = slot.run_id
          and job.id = slot.job_id
          and job.owner is not null
      ) = 0
    )
  )
returning key

-- name: repair_flow
-- rows: key text
delete from flow
where key in (select v.key from v)
  and expires_at <= :now
returning key

-- name: repair_signals
-- rows: environment text, name text, id text
delete from signal
where (environment, name, id) in (select v.environment, v.name, v.id from v)
returning id

-- name: repair_gatherings
-- rows: run_id text
delete from gathering
where run_id in (select v.run_id from v)
  and (select count(*) from function where function.id = gathering.function_id) = 0
returning run_id
