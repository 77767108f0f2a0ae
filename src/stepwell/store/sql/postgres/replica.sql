-- name: replica_fence
-- The fence, and with it the revisions: no row back, this replica is dead. The lock makes the reaper wait for this
-- transaction; a plain read would fence nothing. Beats don't wait for it. It locks names and keys as well, in the order
-- in which they come: what is read of them by later statements isn't older than the locks.
select environment.id, environment.revision, (
  select count(
    case
      when l.is_shared then pg_advisory_xact_lock_shared(l.key)::text
      else pg_advisory_xact_lock(l.key)::text
    end
  )
  from unnest(:locks::bigint[], :shared::boolean[]) as l(key, is_shared)
)
from replica
left join environment on true
where replica.id = :id
for key share of replica

-- name: replica_reap
-- A dead replica with a transaction under way is passed over until the server ends that: reaping never waits.
delete from replica
where id in (
  select id
  from replica
  where id <> :id
    and beat_at < :db_now - :silent_ms
  order by id
  for update skip locked
)
