-- Queries over replicas. Beats are judged by the database's own clock.

-- name: replica_insert
insert into replica (id, started_at, beat_at)
values (:id, :db_now, :db_now)

-- name: replica_beat
update replica
set beat_at = :db_now,
  work = :work
where id = :id
returning beat_at

-- name: replica_survey
-- How many replicas there are, how many of them are silent, how many others are older, and what all have done.
select count(*),
  sum(case when id <> :id and beat_at < :db_now - :silent_ms then 1 else 0 end),
  sum(case when id < :id and beat_at >= :db_now - :silent_ms then 1 else 0 end),
  cast(sum(work) as bigint)
from replica

-- name: replica_remove
delete from replica
where id = :id
