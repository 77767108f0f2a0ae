-- Queries over events and schedules.

-- name: event_insert
-- rows: id text, environment text, name text, event_id text, ts bigint, received_at bigint, is_internal bigint,
--   body bytea, original bytea
-- An event that is there already (a send that was tried again) comes back as no row; of the others, whether a run may
-- wait for it.
insert into event (id, environment, name, event_id, ts, received_at, is_internal, body, original)
select v.id, v.environment, v.name, v.event_id, v.ts, v.received_at, v.is_internal, v.body, v.original
from v
where true
on conflict do nothing
returning id, exists (
  select 1
  from wait
  where wait.environment = event.environment
    and wait.name = event.name
    and wait.kind <> 'signal'
)

-- name: event_names
-- rows: id text
select event.id, event.name
from v
join event on event.id = v.id

-- name: event_key_take
-- rows: function_id text, event_id text, expires_at bigint
-- Takes the 24-hour window of an event id for a function; no row back where it is taken.
insert into event_key (function_id, event_id, expires_at)
select v.function_id, v.event_id, v.expires_at
from v
where true
on conflict (function_id, event_id) do update
set expires_at = excluded.expires_at
where event_key.expires_at <= :now
returning function_id, event_id

-- name: schedule_due
select schedule.function_id, schedule.cron, schedule.next_at
from schedule
where schedule.next_at <= :now
order by schedule.next_at
limit :limit

-- name: schedule_load
select schedule.function_id, schedule.cron, schedule.next_at
from function
join schedule on schedule.function_id = function.id
where function.environment = :environment
order by schedule.function_id, schedule.cron

-- name: schedule_next_due
select min(next_at)
from schedule
where next_at is not null

-- name: schedule_tick
-- rows: function_id text, cron text, seen_at bigint, next_at bigint
-- One firing of each schedule, however many see it due.
update schedule
set next_at = v.next_at
from v
where schedule.function_id = v.function_id
  and schedule.cron = v.cron
  and schedule.next_at = v.seen_at
returning schedule.function_id, schedule.cron
