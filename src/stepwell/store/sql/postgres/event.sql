-- name: event_keep
-- rows: id text
-- Keeps stored events from being pruned before a run that starts again for them is there; no row back, it is gone.
select id
from event
where id in (select v.id from v)
order by id
for key share
