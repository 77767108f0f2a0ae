-- Retention: what has expired is found by reading, and deleted later, in small transactions.
--
-- Ids are ULIDs: from the oldest on, they are walked in the order of time. No index holds ended_at, which steps would
-- have to keep up. Final means final: an ended run, its steps and its attempts change no more, so what was read of one
-- still holds when it is deleted. That needs no wait for any lock: what another transaction has is passed over.

-- name: run_walk
-- Served by run_function.
select id, ended_at
from run
where function_id = :function_id
  and id > :after
order by id
limit :limit

-- name: run_weight
-- rows: id text
-- What it takes to delete runs with their events: rows, counted up to a limit, and bytes.
select run.id,
  (
    select count(*)
    from (select 1 from attempt where attempt.run_id = run.id limit :count_max) as a
  ),
  (
    select coalesce(sum(a.size), 0)
    from (
      select coalesce(length(attempt.error), 0) as size from attempt where attempt.run_id = run.id limit :count_max
    ) as a
  ),
  (
    select count(*)
    from (select 1 from step where step.run_id = run.id limit :count_max) as s
  ),
  (
    select coalesce(sum(s.size), 0)
    from (
      select length(step.memo) + coalesce(length(step.original), 0) as size
      from step
      where step.run_id = run.id
      limit :count_max
    ) as s
  ),
  (
    select count(*)
    from (select 1 from gathered where gathered.run_id = run.id limit :count_max) as g
  ),
  (select line_count from log_tally where log_tally.run_id = run.id),
  (select span_count from log_tally where log_tally.run_id = run.id),
  (select byte_count from log_tally where log_tally.run_id = run.id),
  coalesce(length(run.output), 0) + coalesce(
    (select length(event.body) + coalesce(length(event.original), 0) from event where event.id = run.event_id), 0
  )
from v
join run on run.id = v.id

-- name: event_walk
-- Served by the primary key and, for each event, by run_event, gathered_event and sweep's key. With exists, PostgreSQL
-- may read all runs first.
select event.id,
  event.environment = :environment
    and event.received_at <= :received_before
    and (select count(*) from run where run.event_id = event.id) = 0
    and (select count(*) from gathered where gathered.event_id = event.id) = 0
    and (select count(*) from sweep where sweep.event_id = event.id) = 0,
  length(event.body) + coalesce(length(event.original), 0)
from event
where event.id > :after
order by event.id
limit :limit

-- name: event_key_walk
-- Served by the primary key.
select function_id, event_id, expires_at
from event_key
where (function_id, event_id) > (:function_id, :event_id)
order by function_id, event_id
limit :limit

-- name: prune_attempts
-- rows: run_id text
delete from attempt
where run_id in (select v.run_id from v)

-- name: prune_steps
-- rows: run_id text
delete from step
where run_id in (select v.run_id from v)

-- name: prune_some_attempts
delete from attempt
where run_id = :run_id
  and id in (select id from attempt where run_id = :run_id order by id limit :limit)
returning id

-- name: prune_some_steps
delete from step
where run_id = :run_id
  and id in (select id from step where run_id = :run_id order by id limit :limit)
returning id

-- name: gathered_drop
-- rows: run_id text
-- The events of a batch or a debounce are let go with its run.
delete from gathered
where run_id in (select v.run_id from v)

-- name: gathered_drop_some
delete from gathered
where run_id = :run_id
  and event_id in (select event_id from gathered where run_id = :run_id order by event_id limit :limit)
returning event_id

-- name: prune_runs
-- rows: id text
delete from run
where id in (select v.id from v)
returning event_id

-- name: prune_events
-- rows: id text
-- After the events were locked: a run that was started again for one of them meanwhile is seen, and keeps it. What waits in
-- a batch or a debounce, or was in one, is kept for its run; what has waits left to end, for its sweep.
delete from event
where id in (select v.id from v)
  and not exists (select 1 from run where run.event_id = event.id)
  and not exists (select 1 from gathered where gathered.event_id = event.id)
  and not exists (select 1 from sweep where sweep.event_id = event.id)
returning id
