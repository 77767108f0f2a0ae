-- name: sweep_next
-- The oldest of some name, with its event.
select sweep.event_id, sweep.environment, sweep.name, sweep.received_at, sweep.after_path, sweep.after_run_id,
  sweep.after_job_id, event.body
from sweep
join event on event.id = sweep.event_id
where not exists (
  select 1
  from sweep as older
  where older.environment = sweep.environment
    and older.name = sweep.name
    and older.event_id < sweep.event_id
)
order by sweep.event_id
limit 1
