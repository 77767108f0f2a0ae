-- Queries over waits and signals.

-- name: wait_insert
-- rows: run_id text, job_id text, environment text, kind text, name text, path text, value text, condition text,
--   created_at bigint, expires_at bigint
insert into wait (run_id, job_id, environment, kind, name, path, value, condition, created_at, expires_at)
select v.run_id, v.job_id, v.environment, v.kind, v.name, v.path, v.value, v.condition, v.created_at, v.expires_at
from v

-- name: wait_paths
-- rows: environment text, name text
-- The paths by which waits on events of a name are found, by one seek each.
with recursive found(environment, name, path) as (
  select v.environment, v.name, (
    select min(wait.path)
    from wait
    where wait.environment = v.environment
      and wait.name = v.name
      and wait.kind <> 'signal'
  )
  from v
  union all
  select found.environment, found.name, (
    select min(wait.path)
    from wait
    where wait.environment = found.environment
      and wait.name = found.name
      and wait.path > found.path
      and wait.kind <> 'signal'
  )
  from found
  where found.path is not null
)
select environment, name, path from found where path is not null

-- name: wait_match
-- rows: environment text, name text, path text, value text
-- Served by wait_match. The condition is for the rules to look at; where there are more than the limit, it's for sweeps.
select wait.environment, wait.name, wait.path, wait.value, wait.run_id, wait.job_id, wait.kind, wait.condition,
  wait.expires_at
from v
join wait on wait.environment = v.environment
  and wait.name = v.name
  and wait.path = v.path
  and wait.value = v.value
where wait.kind <> 'signal'
limit :limit

-- name: wait_sweep
-- Served by wait_match: waits of one path and value, from a place on. A run isn't ended by the event that started it, nor
-- cancelled by one that came before it in the same millisecond.
select run_id, job_id, kind, condition, expires_at
from wait
where environment = :environment
  and name = :name
  and path = :path
  and value = :value
  and (run_id, job_id) > (:run_id, :job_id)
  and kind <> 'signal'
  and created_at <= :received_at
  and not exists (
    select 1
    from run
    where run.id = wait.run_id
      and (
        run.event_id = :event_id
        or (wait.kind = 'cancel' and wait.created_at = :received_at and run.event_id > :event_id)
      )
  )
order by run_id, job_id
limit :limit

-- name: wait_swept
-- rows: run_id text, job_id text
-- Those waits that an event may end which came before their time-out, and whose turn it isn't yet.
select wait.run_id, wait.job_id
from v
join wait on wait.run_id = v.run_id
  and wait.job_id = v.job_id
join sweep on sweep.environment = wait.environment
  and sweep.name = wait.name
where wait.kind = 'event'
  and sweep.received_at < wait.expires_at

-- name: sweep_pending
-- rows: environment text, name text
select distinct sweep.environment, sweep.name
from v
join sweep on sweep.environment = v.environment
  and sweep.name = v.name

-- name: sweep_insert
-- rows: event_id text, environment text, name text, received_at bigint
insert into sweep (event_id, environment, name, received_at, after_path, after_run_id, after_job_id)
select v.event_id, v.environment, v.name, v.received_at, '', '', ''
from v

-- name: sweep_move
update sweep
set after_path = :path,
  after_run_id = :run_id,
  after_job_id = :job_id
where event_id = :event_id

-- name: sweep_end
delete from sweep
where event_id = :event_id

-- name: sweep_exists
select exists (select 1 from sweep)

-- name: wait_signal
-- rows: environment text, name text
select wait.environment, wait.name, wait.run_id, wait.job_id, wait.expires_at
from v
join wait on wait.environment = v.environment
  and wait.name = v.name
where wait.kind = 'signal'

-- name: wait_take
-- rows: run_id text, job_id text
-- Removes waits: of two that take the same, one gets it back.
delete from wait
where (run_id, job_id) in (select v.run_id, v.job_id from v)
returning run_id, job_id

-- name: wait_drop
-- rows: run_id text
-- Removes all waits of runs that ended.
delete from wait
where run_id in (select v.run_id from v)

-- name: event_received
select received_at
from event
where id = :id

-- name: wait_look_back
-- Events that were received before a wait for them began, the oldest first. Served by event_name.
select id, body
from event
where environment = :environment
  and name = :name
  and id > :after
  and received_at >= :since
order by id
limit :limit

-- name: signal_keep
insert into signal (environment, name, id, data, sent_at)
values (:environment, :name, :id, :data, :now)

-- name: signal_take
-- The oldest that was kept.
delete from signal
where environment = :environment
  and name = :name
  and id = (select min(kept.id) from signal as kept where kept.environment = :environment and kept.name = :name)
returning data

-- name: wait_exists
select exists (
  select 1
  from wait
  where environment = :environment
    and name = :name
    and kind <> 'signal'
)
