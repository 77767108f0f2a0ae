-- Queries over flow control: slots of concurrency keys, states of rate limits and throttles, gatherings.

-- name: slot_count
-- rows: key text
select v.key, (select count(*) from slot where slot.key = v.key)
from v

-- name: slot_insert
-- rows: key text, run_id text, job_id text
insert into slot (key, run_id, job_id)
select v.key, v.run_id, v.job_id
from v
where true
on conflict do nothing

-- name: slot_free
-- rows: run_id text, job_id text
delete from slot
where (run_id, job_id) in (select v.run_id, v.job_id from v)

-- name: slot_drop
-- rows: run_id text
-- Gives back all that runs had which ended.
delete from slot
where run_id in (select v.run_id from v)

-- name: slot_sweep
-- Gives back what jobs had that nobody works on any more.
delete from slot
where job_id <> ''
  and not exists (
    select 1
    from job
    where job.run_id = slot.run_id
      and job.id = slot.job_id
      and job.owner is not null
  )

-- name: slot_holders
-- rows: key text
-- The runs that have a key.
select v.key, slot.run_id
from v
join slot on slot.key = v.key

-- name: flow_load
-- rows: key text
select v.key, flow.state
from v
join flow on flow.key = v.key

-- name: flow_save
-- rows: key text, state bytea, expires_at bigint
insert into flow (key, state, expires_at)
select v.key, v.state, v.expires_at
from v
where true
on conflict (key) do update
set state = excluded.state,
  expires_at = excluded.expires_at

-- name: gathering_load
-- rows: function_id text, key text
select gathering.run_id, gathering.environment, gathering.function_id, gathering.kind, gathering.key,
  gathering.version, gathering.first_at, gathering.due_at, gathering.event_count, gathering.byte_count
from v
join gathering on gathering.function_id = v.function_id
  and gathering.key = v.key
where gathering.is_open = 1

-- name: gathering_save
-- rows: run_id text, environment text, function_id text, kind text, key text, version bigint, first_at bigint,
--   due_at bigint, event_count bigint, byte_count bigint, is_open bigint
insert into gathering (
  run_id, environment, function_id, kind, key, version, first_at, due_at, event_count, byte_count, is_open
)
select v.run_id, v.environment, v.function_id, v.kind, v.key, v.version, v.first_at, v.due_at, v.event_count,
  v.byte_count, v.is_open
from v
where true
on conflict (run_id) do update
set version = excluded.version,
  due_at = excluded.due_at,
  event_count = excluded.event_count,
  byte_count = excluded.byte_count,
  is_open = excluded.is_open

-- name: gathering_due
select run_id, environment, function_id, kind, key, version, first_at, due_at, event_count, byte_count
from gathering
where due_at <= :now
order by due_at
limit :limit

-- name: gathering_next_due
select min(due_at)
from gathering

-- name: gathering_take
-- rows: run_id text, version bigint
-- One firing of each gathering, however many see it due, and none of one that got another event since.
delete from gathering
where (run_id, version) in (select v.run_id, v.version from v)
returning run_id

-- name: gathered_insert
-- rows: run_id text, event_id text
insert into gathered (run_id, event_id)
select v.run_id, v.event_id
from v

-- name: gathered_copy
-- rows: run_id text, original_run_id text
-- The events of a batch that is started again.
insert into gathered (run_id, event_id)
select v.run_id, original.event_id
from v
join gathered as original on original.run_id = v.original_run_id

-- name: gathered_load
-- rows: run_id text
select gathered.run_id, event.id, event.body
from v
join gathered on gathered.run_id = v.run_id
join event on event.id = gathered.event_id
order by gathered.run_id, gathered.event_id

-- name: gathered_invoked
-- rows: run_id text
-- Those that steps wait for.
select gathered.run_id, event.id, event.body
from v
join gathered on gathered.run_id = v.run_id
join event on event.id = gathered.event_id
where event.name = 'inngest/function.invoked'

-- name: gathering_of_event
-- Served by gathered_event: what an event waits in.
select gathering.run_id, gathering.environment, gathering.function_id, gathering.kind, gathering.key,
  gathering.version, gathering.first_at, gathering.due_at, gathering.event_count, gathering.byte_count
from gathered
join gathering on gathering.run_id = gathered.run_id
where gathered.event_id = :event_id
order by gathering.run_id
limit :limit
