-- name: prune_lock_runs
-- rows: id text
-- The one writer needs no lock.
select run.id
from v
join run on run.id = v.id
where run.ended_at is not null

-- name: prune_lock_events
-- rows: id text
select event.id
from v
join event on event.id = v.id
where event.received_at <= :received_before

-- name: prune_keys
-- rows: function_id text, event_id text
delete from event_key
where (function_id, event_id) in (select v.function_id, v.event_id from v)
  and expires_at <= :now
returning event_id

-- name: prune_samples
-- rows: function_id text, at bigint
-- SQLite takes values of both columns from a table with their types, not from v: from that it would take the function's
-- alone, and look at all of its samples.
delete from sample
where (function_id, at) in (
  select kept.function_id, kept.at
  from v
  join sample as kept on kept.function_id = v.function_id and kept.at = v.at
)
returning at
