-- name: replica_fence
-- The fence, and with it the revisions: no row back, this replica is dead. The one writer needs no lock.
select environment.id, environment.revision
from replica
left join environment on true
where replica.id = :id

-- name: replica_reap
delete from replica
where id <> :id
  and beat_at < :db_now - :silent_ms
