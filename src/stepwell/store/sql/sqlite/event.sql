-- name: event_keep
-- rows: id text
-- The one writer needs no lock.
select event.id
from v
join event on event.id = v.id
