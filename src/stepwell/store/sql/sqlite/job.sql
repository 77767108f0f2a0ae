-- name: job_end
-- rows: run_id text, id text, owner text, generation bigint
-- The fence of a commit: no row back, nothing is written for it.
delete from job
where (run_id, id, generation, owner) in (select v.run_id, v.id, v.generation, v.owner from v)
returning run_id, id

-- name: job_claim
-- Served by job_due. The oldest due jobs of one partition that nobody has.
update job
set owner = :owner,
  partition = :later,
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
  is_joined, lost_count, generation, owner, leased_at, payload,
  coalesce(job.memo, (select event.body from event where event.id = job.resolved_by)), resolved_by

-- name: job_release_orphans
-- Gives back the jobs that have no living owner.
update job
set owner = null,
  leased_at = null,
  generation = generation + 1,
  lost_count = lost_count + (kind in ('discover', 'step', 'fetch'))
where owner is not null
  and owner not in (select replica.id from replica)
