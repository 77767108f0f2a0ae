-- Who may come in: the account, set-up links, sessions, API tokens. All tables are small.
--
-- Making the account and making it anew meet in the row of the link: each first deletes it. Whoever comes second finds the
-- link gone, or the account there.

-- name: setup_link_take
delete from setup_link
where hash = :hash
  and expires_at > :now
returning hash

-- name: account_make
-- Of two who have a link each, one makes it.
insert into account (id, password, created_at)
values ('admin', :password, :now)
on conflict (id) do nothing
returning id

-- name: setup_link_make
insert into setup_link (hash, expires_at)
values (:hash, :expires_at)
on conflict (hash) do nothing

-- name: setup_links_expire
delete from setup_link
where expires_at <= :now

-- name: setup_links_drop
delete from setup_link

-- name: account_drop
delete from account

-- name: sessions_drop
delete from session

-- name: session_begin
-- Only while the password is the one that was given: a reset in between ends this session, too.
insert into session (hash, created_at, expires_at)
select :hash, cast(:now as bigint), cast(:expires_at as bigint)
from account
where password = :password
on conflict (hash) do nothing
returning hash

-- name: sessions_shrink
delete from session
where expires_at <= :now
  or hash not in (select kept.hash from session as kept order by kept.expires_at desc, kept.hash limit :count_max)

-- name: session_renew
update session
set expires_at = :expires_at
where hash = :hash
  and expires_at < :expires_at
returning hash

-- name: session_end
delete from session
where hash = :hash

-- name: api_token_make
-- Two at once may make one more than there should be, which harms nobody.
insert into api_token (id, name, hash, created_at)
select :id, :name, :hash, cast(:now as bigint)
where (select count(*) from api_token) < :count_max
on conflict (id) do nothing
returning id

-- name: api_token_end
delete from api_token
where id = :id
returning id

-- name: api_token_use
update api_token
set last_used_at = :now
where id = :id
  and coalesce(last_used_at, 0) < :now

-- name: account_get
select password
from account

-- name: session_list
select hash, expires_at
from session

-- name: api_token_list
select id, name, hash, created_at, last_used_at
from api_token
order by created_at, id
