-- Queries over environments, apps, functions and settings.

-- name: environment_upsert
insert into environment (id, name, created_at)
values (:id, :id, :now)
on conflict do nothing

-- name: environment_revision
select revision
from environment
where id = :id

-- name: environment_bump
-- No row back: the functions changed meanwhile.
update environment
set revision = revision + 1
where id = :id
  and revision = :revision
returning revision

-- name: environment_touch
-- What a replica knows of the environment is old.
update environment
set revision = revision + 1
where id = :id
returning revision

-- name: app_load
select id, name, transport, url, sdk, framework, version, checksum, synced_at, archived_at
from app
where environment = :environment
order by name

-- name: app_upsert
insert into app (id, environment, name, transport, url, sdk, framework, version, checksum, synced_at)
values (:id, :environment, :name, :transport, :url, :sdk, :framework, :version, :checksum, :now)
on conflict (id) do update
set transport = excluded.transport,
  url = excluded.url,
  sdk = excluded.sdk,
  framework = excluded.framework,
  version = excluded.version,
  checksum = excluded.checksum,
  synced_at = excluded.synced_at,
  archived_at = null

-- name: app_archive
update app
set archived_at = :now,
  checksum = ''
where id = :id
  and archived_at is null

-- name: function_load
select function.id, function.app_id, function.environment, function.slug, function.version, function_version.config,
  function.archived_at, function.paused_at, function.pause_mode, function.is_stopped
from function
join function_version on function_version.function_id = function.id
  and function_version.version = function.version
where function.environment = :environment
order by function.slug

-- name: function_upsert
insert into function (id, environment, app_id, slug, name, version)
values (:id, :environment, :app_id, :slug, :name, :version)
on conflict (id) do update
set app_id = excluded.app_id,
  name = excluded.name,
  version = excluded.version,
  archived_at = null

-- name: function_version_insert
insert into function_version (function_id, version, config, created_at)
values (:function_id, :version, :config, :now)
on conflict do nothing

-- name: function_archive
update function
set archived_at = :now
where id = :id

-- name: schedule_of_function
select cron
from schedule
where function_id = :function_id

-- name: schedule_add
-- One that is there keeps its time, unless it was stopped.
insert into schedule (function_id, cron, next_at)
values (:function_id, :cron, :next_at)
on conflict (function_id, cron) do update
set next_at = excluded.next_at
where schedule.next_at is null

-- name: schedule_remove
delete from schedule
where function_id = :function_id
  and cron = :cron

-- name: setting_get
select value
from setting
where key = :key

-- name: setting_put
insert into setting (key, value)
values (:key, :value)
on conflict (key) do update
set value = excluded.value

-- name: setting_keep
-- One that is there already stays: of replicas that make it at once, one has its way.
insert into setting (key, value)
values (:key, :value)
on conflict (key) do nothing

-- name: function_pause
update function
set paused_at = :paused_at,
  pause_mode = :pause_mode,
  is_stopped = :is_stopped
where id = :id
