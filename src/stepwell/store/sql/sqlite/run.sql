-- name: run_lock
-- rows: id text
-- The one writer needs no lock.
select run.id, run.version, run.status
from v
join run on run.id = v.id
