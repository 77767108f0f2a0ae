-- The queue. Lock order: replica, event names, flow keys, runs, jobs, waits; sorted within each.

-- name: job_insert
-- rows: run_id text, id text, partition text, kind text, step_id text, title text, op text, attempt bigint,
--   max_attempts bigint, stack_current bigint, is_joined bigint, lost_count bigint, due_at bigint, created_at bigint,
--   owner text, generation bigint, leased_at bigint
-- Inserts jobs, those with an owner leased to it, unless an older job of their partition waits: then they wait, too.
insert into job (
  run_id, id, partition, kind, step_id, title, op, attempt, max_attempts, stack_current, is_joined, lost_count,
  due_at, created_at, owner, generation, leased_at
)
select x.run_id, x.id, x.partition, x.kind, x.step_id, x.title, x.op, x.attempt, x.max_attempts, x.stack_current,
  x.is_joined, x.lost_count, x.due_at, x.created_at,
  case when x.is_overtaking then null else x.owner end,
  x.generation,
  case when x.is_overtaking then null else x.leased_at end
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

-- name: job_end
-- rows: run_id text, id text, owner text, generation bigint
-- The fence of a commit: no row back, nothing is written for it.
delete from job
where (run_id, id, generation, owner) in (select v.run_id, v.id, v.generation, v.owner from v)
returning run_id, id

-- name: job_drop
-- rows: run_id text
-- Removes all jobs of runs that ended.
delete from job
where run_id in (select v.run_id from v)

-- name: job_claim
-- Served by job_due. The oldest due jobs of one partition that nobody has.
update job
set owner = :owner,
  generation = generation + 1,
  leased_at = :now
where (run_id, id) in (
  select run_id, id
  from job
  where partition = :partition
    and owner is null
    and due_at <= :now
  order by due_at
  limit :limit
)
returning run_id, id, partition, kind, step_id, due_at, created_at, max_attempts, attempt, title, op, stack_current,
  is_joined, lost_count, generation, owner, leased_at

-- name: job_next_due
-- When a partition has work again, or null.
select min(due_at)
from job
where partition = :partition
  and owner is null

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

-- name: job_lost_attempts
-- The attempts of dead replicas that were under way, kept as what they are. The clock may be behind the dead one's.
insert into attempt (run_id, id, step_id, title, attempt, started_at, ended_at, outcome)
select run_id, id || '.' || generation, step_id, title, attempt, leased_at,
  case when leased_at > :now then leased_at else :now end,
  'lost'
from job
where owner is not null
  and owner <> :owner
  and kind <> 'timer'
on conflict do nothing

-- name: job_release
-- Gives back the jobs of every other replica. SQLite has one: all others are dead.
update job
set owner = null,
  leased_at = null,
  generation = generation + 1,
  lost_count = lost_count + (kind <> 'timer')
where owner is not null
  and owner <> :owner

-- name: job_give_back
-- rows: run_id text, id text, owner text, generation bigint
-- Releases leased jobs whose call hasn't begun.
update job
set owner = null,
  leased_at = null,
  generation = job.generation + 1
from v
where job.run_id = v.run_id
  and job.id = v.id
  and job.owner = v.owner
  and job.generation = v.generation
