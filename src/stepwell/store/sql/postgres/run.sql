-- name: run_lock
-- rows: id text
-- Locks runs in the order of their ids. A row that had to be waited for comes back as it is then, so its version is
-- the one to compare with.
select run.id, run.version, run.status
from run
where run.id in (select v.id from v)
order by run.id
for no key update of run
