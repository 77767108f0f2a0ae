-- name: job_end
-- rows: run_id text, id text, owner text, generation bigint
-- The fence of a commit: no row back, nothing is written for it.
delete from job
using v
where job.run_id = v.run_id
  and job.id = v.id
  and job.owner = v.owner
  and job.generation = v.generation
returning job.run_id, job.id

-- name: job_claim
-- Served by job_due. The oldest due jobs of one partition that nobody has, and nobody else is just taking. Materialized:
-- a plan that looked for them again for each job would go beyond the limit.
with due as materialized (
  select run_id, id
  from job
  where partition = :partition
    and owner is null
    and due_at <= :now
  order by due_at
  limit :limit
  for update skip locked
)
update job
set owner = :owner,
  partition = :later,
  generation = job.generation + 1,
  leased_at = :now
from due
where job.run_id = due.run_id
  and job.id = due.id
returning job.run_id, job.id, partition, kind, step_id, due_at, created_at, max_attempts, attempt, title, op,
  stack_current, is_joined, lost_count, generation, owner, leased_at, payload,
  coalesce(job.memo, (select event.body from event where event.id = job.resolved_by)), resolved_by

-- name: job_release_orphans
-- Gives back the jobs that have no living owner, in the order in which all lock jobs.
update job
set owner = null,
  leased_at = null,
  generation = job.generation + 1,
  lost_count = job.lost_count + case when job.kind in ('discover', 'step', 'fetch') then 1 else 0 end
from (
  select run_id, id
  from job
  where owner is not null
    and owner not in (select replica.id from replica)
  order by run_id, id
  for update of job
) as orphan
where job.run_id = orphan.run_id
  and job.id = orphan.id
