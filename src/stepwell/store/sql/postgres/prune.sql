-- name: prune_lock_runs
-- rows: id text
-- A run that a late reply, or another replica's sweep, has is passed over: deleting waits for nobody.
select id
from run
where id in (select v.id from v)
  and ended_at is not null
order by id
for update skip locked

-- name: prune_lock_events
-- rows: id text
-- Whoever starts a run again locks its event for key share: it is passed over here, or waits and finds it gone.
select id
from event
where id in (select v.id from v)
  and received_at <= :received_before
order by id
for update skip locked

-- name: prune_keys
-- rows: function_id text, event_id text
-- A window that is just taken anew is passed over.
delete from event_key
where (function_id, event_id) in (
  select function_id, event_id
  from event_key
  where (function_id, event_id) in (select v.function_id, v.event_id from v)
    and expires_at <= :now
  order by function_id, event_id
  for update skip locked
)
returning event_id

-- name: prune_samples
-- rows: function_id text, at bigint
-- What another replica is just deleting is passed over.
delete from sample
where (function_id, at) in (
  select function_id, at
  from sample
  where (function_id, at) in (select v.function_id, v.at from v)
  order by function_id, at
  for update skip locked
)
returning at
