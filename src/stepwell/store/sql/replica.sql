-- Queries over replicas. Beats are judged by the database's own clock.

-- name: replica_insert
insert into replica (id, started_at, beat_at)
values (:id, :db_now, :db_now)

-- name: replica_beat
update replica
set beat_at = :db_now
where id = :id
returning beat_at

-- name: replica_survey
-- How many replicas there are, and how many of them are silent.
select count(*), sum(case when id <> :id and beat_at < :db_now - :silent_ms then 1 else 0 end)
from replica

-- name: replica_remove
delete from replica
where id = :id
