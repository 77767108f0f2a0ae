-- What was seen of functions, minute by minute. It is inserted in the group commit, after all that runs need.

-- name: sample_put
-- rows: function_id text, at bigint, backlog bigint, running bigint, runs_running bigint
-- Of a minute at which several replicas looked, or one before and after a restart, the most that any of them saw counts.
insert into sample (function_id, at, backlog, running, runs_running)
select v.function_id, v.at, v.backlog, v.running, v.runs_running
from v
where true
on conflict (function_id, at) do update
set backlog = case when excluded.backlog > sample.backlog then excluded.backlog else sample.backlog end,
  running = case when excluded.running > sample.running then excluded.running else sample.running end,
  runs_running = case
    when excluded.runs_running > sample.runs_running then excluded.runs_running
    else sample.runs_running
  end

-- name: sample_walk
-- Served by the primary key.
select at
from sample
where function_id = :function_id
  and at > :after
  and at <= :until
order by at
limit :limit
