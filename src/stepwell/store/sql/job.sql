-- The queue.

-- name: job_insert
-- rows: run_id text, id text, partition text, kind text, step_id text, title text, op text, attempt bigint,
--   max_attempts bigint, stack_current bigint, is_joined bigint, lost_count bigint, due_at bigint, created_at bigint,
--   owner text, generation bigint, leased_at bigint, payload bytea
-- Inserts jobs, those with an owner leased to it, unless an older job of their partition waits: then they wait, too.
insert into job (
  run_id, id, partition, kind, step_id, title, op, attempt, max_attempts, stack_current, is_joined, lost_count,
  due_at, created_at, owner, generation, leased_at, payload
)
select x.run_id, x.id, x.partition, x.kind, x.step_id, x.title, x.op, x.attempt, x.max_attempts, x.stack_current,
  x.is_joined, x.lost_count, x.due_at, x.created_at,
  case when x.is_overtaking then null else x.owner end,
  x.generation,
  case when x.is_overtaking then null else x.leased_at end,
  x.payload
from (
  select v.*,
    v.owner is not null and exists (
      select 1
      from job as older
      where older.partition = v.partition
        and older.owner is null
        and older.due_at < v.due_at
    ) as is_overtaking
  from v
) as x
where true
returning run_id, id, owner

-- name: job_drop
-- rows: run_id text
-- Removes all jobs of runs that ended.
delete from job
where run_id in (select v.run_id from v)

-- name: job_partitions
-- The partitions that have waiting jobs, by one seek each.
with recursive waiting(partition) as (
  select min(partition) from job where owner is null
  union all
  select (select min(job.partition) from job where job.owner is null and job.partition > waiting.partition)
  from waiting
  where waiting.partition is not null
)
select partition from waiting where partition is not null

-- name: job_backlog
-- How many jobs of a partition are due and waiting, counted up to a limit each: one seek a partition, and a piece of job_due.
with recursive waiting(partition) as (
  select min(partition) from job where owner is null
  union all
  select (select min(job.partition) from job where job.owner is null and job.partition > waiting.partition)
  from waiting
  where waiting.partition is not null
)
select waiting.partition,
  (
    select count(*)
    from (
      select 1 from job
      where job.owner is null and job.partition = waiting.partition and job.due_at <= :now
      limit :count_max
    ) as due
  )
from waiting
where waiting.partition is not null
limit :partitions_max

-- name: job_next_due
-- rows: partition text
-- When each partition has work again, or null.
select v.partition, (
  select min(job.due_at)
  from job
  where job.partition = v.partition
    and job.owner is null
)
from v

-- name: job_leases
select run_id, id, generation
from job
where owner = :owner

-- name: job_lost_attempts
-- The attempts of dead replicas that were under way, kept as what they are. The clock may be behind the dead one's.
insert into attempt (run_id, id, step_id, title, attempt, started_at, ended_at, outcome)
select run_id, id || '.' || generation, step_id, title, attempt, leased_at,
  case when leased_at > :now then leased_at else :now end,
  'lost'
from job
where owner is not null
  and owner not in (select replica.id from replica)
  and kind in ('discover', 'step', 'fetch')
on conflict do nothing

-- name: job_give_back
-- rows: run_id text, id text, owner text, generation bigint, is_lost bigint
-- Releases leased jobs.
update job
set owner = null,
  leased_at = null,
  generation = job.generation + 1,
  lost_count = job.lost_count + v.is_lost
from v
where job.run_id = v.run_id
  and job.id = v.id
  and job.owner = v.owner
  and job.generation = v.generation
returning job.run_id, job.id, job.partition

-- name: job_wake
-- Ends a sleep that goes on now, unless somebody is about to. The run stays as it is: what was computed from it holds.
update job
set due_at = :now
where run_id = :run_id
  and id = :id
  and kind = 'timer'
  and owner is null
  and due_at > :now
returning run_id

-- name: job_keep
-- rows: run_id text, id text, generation bigint
-- The fence of a checkpoint: the call goes on, its retries unused. Whoever has the job may have got it through anybody.
update job
set attempt = 0,
  lost_count = 0
from v
where job.run_id = v.run_id
  and job.id = v.id
  and job.generation = v.generation
  and job.owner is not null
returning job.run_id, job.id

-- name: job_resolve
-- rows: run_id text, id text, memo bytea, resolved_by text
-- Ends waits, each once: the job is due, with what its step becomes. Whoever was about to time it out loses it.
update job
set due_at = :now,
  owner = null,
  leased_at = null,
  generation = job.generation + 1,
  memo = v.memo,
  resolved_by = v.resolved_by
from v
where job.run_id = v.run_id
  and job.id = v.id
  and job.kind = 'wait'
  and job.memo is null
  and job.resolved_by is null
returning job.run_id, job.id

-- name: job_waiting_for
-- rows: run_id text, step_id text
-- The jobs that wait in steps of other runs.
select job.run_id, job.step_id, job.id
from v
join job on job.run_id = v.run_id
where job.step_id = v.step_id
  and job.kind = 'wait'

-- name: job_close
-- rows: run_id text, id text, generation bigint
-- Removes jobs that nobody has begun.
delete from job
where (run_id, id, generation) in (select v.run_id, v.id, v.generation from v)
  and owner is null
returning run_id, id
