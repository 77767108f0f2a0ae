"""Set-up, login, sessions and API tokens of a production server, and everything that must not get in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from stepwell.limits import (
    CREDENTIALS_KEPT_S,
    DAY_MS,
    LOGIN_BODY_BYTES_MAX,
    LOGINS_MAX,
    LOGINS_PER_ADDRESS_MAX,
    LOGINS_WINDOW_S,
    PASSWORD_CHARS_MAX,
    SESSION_MS,
    SETUP_LINK_MS,
)
from stepwell.server.access import Access, reset_account
from tests.server.world import API_TOKEN, PRODUCTION, World, running

PASSWORD = "correct horse battery"
OURS = {"Origin": "http://localhost:8288"}
SECURE = {"Host": "jobs.example.com", "X-Forwarded-Proto": "https", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[World]:
    """A production server that a browser asks, without a token; its seconds stand still."""
    async with running(tmp_path, PRODUCTION) as world:
        del world.client.headers["Authorization"]
        yield world


async def link(world: World) -> str:
    path = await world.context.access.make_setup_link()
    assert path is not None
    before, token = path.split("#")
    assert before == "/setup"
    return token


async def set_up(world: World) -> None:
    """Make the account; the client is logged out again."""
    await world.post("/api/setup", {"token": await link(world), "password": PASSWORD})
    world.client.cookies.clear()


async def log_in(world: World, password: str = PASSWORD, **headers: str) -> httpx2.Response:
    return await world.client.post("/api/session", json={"password": password}, headers=headers)


async def status(world: World, method: str = "GET", path: str = "/api/runs", **headers: str) -> int:
    return (await world.client.request(method, path, headers=headers)).status_code


def pass_time(world: World, monkeypatch: pytest.MonkeyPatch, ms: int) -> None:
    """Let time pass, for instants and for durations."""
    clock = world.engine.clock
    clock.offset_ms += ms
    elapsed = clock.elapsed
    monkeypatch.setattr(clock, "elapsed", lambda: elapsed() + ms / 1000)


# -- set-up -----------------------------------------------------------------------------------------------------


async def test_the_set_up_link_makes_the_account_and_logs_in(site: World) -> None:
    assert (await site.get("/api/session"))["needs_setup"]

    shown = await site.post("/api/setup", {"token": await link(site), "password": PASSWORD})

    assert (shown["is_authenticated"], shown["needs_setup"]) == (True, False)
    assert await status(site) == 200
    assert await site.context.access.make_setup_link() is None


async def test_a_used_link_makes_nothing(site: World) -> None:
    token = await link(site)
    await site.post("/api/setup", {"token": token, "password": PASSWORD})
    site.client.cookies.clear()

    body = {"token": token, "password": "another password"}
    message = await site.refused(403, "invalid_setup_link", "POST", "/api/setup", json=body)

    assert "stepwell account reset" in message
    assert (await log_in(site, "another password")).status_code == 401


async def test_a_link_is_over_after_a_day(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"token": await link(site), "password": PASSWORD}
    pass_time(site, monkeypatch, SETUP_LINK_MS)

    await site.refused(403, "invalid_setup_link", "POST", "/api/setup", json=body)


@pytest.mark.parametrize("password", ["", "nine char", "x" * 1_025])
async def test_a_password_has_a_length(site: World, password: str) -> None:
    body = {"token": await link(site), "password": password}

    await site.refused(400, "invalid_password", "POST", "/api/setup", json=body)

    assert (await site.get("/api/session"))["needs_setup"]


async def test_without_an_account_nobody_can_log_in(site: World) -> None:
    await site.refused(409, "needs_setup", "POST", "/api/session", json={"password": PASSWORD})


async def test_a_reset_ends_sessions_and_asks_for_a_new_password(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(site)
    await log_in(site)
    path = await reset_account(site.engine.store, now=site.engine.clock.now())
    pass_time(site, monkeypatch, round(CREDENTIALS_KEPT_S * 1000))

    assert await status(site) == 401
    assert (await log_in(site)).json()["error"]["code"] == "needs_setup"
    await site.post("/api/setup", {"token": path.partition("#")[2], "password": "the new password"})
    assert await status(site) == 200


# -- login ------------------------------------------------------------------------------------------------------


async def test_the_right_password_opens_the_api_and_logging_out_closes_it(site: World) -> None:
    await set_up(site)
    assert await status(site) == 401

    answer = await log_in(site)
    token = site.client.cookies["stepwell"]

    assert answer.json()["is_authenticated"]
    assert await status(site) == 200
    assert (await site.client.delete("/api/session", headers=OURS)).json()["is_authenticated"] is False
    assert "stepwell" not in site.client.cookies
    assert await status(site, Cookie=f"stepwell={token}") == 401


async def test_any_wrong_password_gets_the_same_answer(site: World) -> None:
    await set_up(site)

    answers = [await log_in(site, password) for password in ("", PASSWORD[:-1], PASSWORD + "x", "é" * 5_000)]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert all("set-cookie" not in answer.headers for answer in answers)


@pytest.mark.parametrize("cookie", ["stepwell=", "stepwell=nope", f"stepwell={API_TOKEN}", "other=1", "stepwell=é;;=,"])
async def test_a_foreign_session_opens_nothing(site: World, cookie: str) -> None:
    await set_up(site)

    assert (await site.client.get("/api/runs", headers={b"Cookie": cookie.encode()})).status_code == 401


async def test_a_session_that_is_not_used_is_over_after_a_month(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(site)
    cookie = f"stepwell={(await log_in(site)).cookies['stepwell']}"
    pass_time(site, monkeypatch, SESSION_MS)

    message = await site.refused(401, "unauthorized", "GET", "/api/runs", headers={"Cookie": cookie})

    assert "log in again" in message


async def test_a_session_in_use_lasts_and_its_cookie_with_it(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(site)
    cookie = f"stepwell={(await log_in(site)).cookies['stepwell']}"
    assert "set-cookie" not in (await site.client.get("/api/runs", headers={"Cookie": cookie})).headers

    for _ in range(3):
        pass_time(site, monkeypatch, SESSION_MS - DAY_MS)
        renewed = await site.client.get("/api/runs", headers={"Cookie": cookie})
        assert renewed.status_code == 200
        assert renewed.headers["set-cookie"].startswith(f"{cookie}; Path=/; Max-Age=2592000;")


async def test_a_cookie_is_kept_from_scripts_and_other_sites(site: World) -> None:
    await set_up(site)

    plain = (await log_in(site)).headers["set-cookie"]
    secure = (await log_in(site, **SECURE)).headers["set-cookie"]

    assert plain.startswith("stepwell=")
    assert plain.endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict")
    assert secure.startswith("__Host-stepwell=")
    assert secure.endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure")


async def test_a_cookie_that_came_in_the_clear_is_none_of_an_https_page(site: World) -> None:
    await set_up(site)
    token = (await log_in(site)).cookies["stepwell"]

    assert await status(site, **SECURE, Cookie=f"stepwell={token}") == 401
    assert await status(site, **SECURE, Cookie=f"__Host-stepwell={token}") == 200


@pytest.mark.parametrize("host", ["10.0.0.7:8288", "jobs.example.com", "localhost.evil.example"])
async def test_a_password_does_not_cross_a_network_in_the_clear(site: World, host: str) -> None:
    await set_up(site)
    headers = {"Host": host}

    shown = (await site.client.get("/api/session", headers=headers)).json()
    refused = await log_in(site, **headers)
    token = {"token": "x", "password": PASSWORD}

    assert "--insecure-login" in shown["login_refused"]
    assert "https" in shown["login_refused"]
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insecure_login")
    assert await site.refused(403, "insecure_login", "POST", "/api/setup", json=token, headers=headers)


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1:8288", "[::1]:8288"])
async def test_on_this_machine_it_does_not_matter(site: World, host: str) -> None:
    await set_up(site)

    assert (await log_in(site, Host=host)).status_code == 200
    shown = (await site.client.get("/api/session", headers={"Host": host})).json()
    assert (shown["login_refused"], shown["url"]) == (None, f"http://{host}")


async def test_who_trusts_the_network_may_say_so(tmp_path: Path) -> None:
    async with running(tmp_path, msgspec.structs.replace(PRODUCTION, is_login_insecure=True)) as site:
        del site.client.headers["Authorization"]
        await set_up(site)

        assert (await log_in(site, Host="10.0.0.7:8288")).status_code == 200


async def test_a_dev_server_has_no_login(world: World) -> None:
    assert "no login" in await world.refused(409, "no_login", "POST", "/api/session", json={"password": PASSWORD})


@pytest.mark.parametrize("other", ['prefs={"dark": 1}', "note=a b", 'x="never closed', "name=é", "a=[1, 2]"])
async def test_cookies_of_other_programs_on_this_host_log_nobody_out(site: World, other: str) -> None:
    await set_up(site)
    token = (await log_in(site)).cookies["stepwell"]

    for cookies in (f"{other}; stepwell={token}", f"stepwell={token}; {other}"):
        assert (await site.client.get("/api/runs", headers={b"Cookie": cookies.encode()})).status_code == 200


# -- attempts ---------------------------------------------------------------------------------------------------


async def test_attempts_of_one_address_are_limited(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(site)
    for _ in range(LOGINS_PER_ADDRESS_MAX):
        assert (await log_in(site, "wrong password")).status_code == 401

    refused = await log_in(site)

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_attempts")
    assert 0 < int(refused.headers["Retry-After"]) <= LOGINS_WINDOW_S
    assert (await log_in(site, **{"X-Forwarded-For": "198.51.100.7"})).status_code == 200
    pass_time(site, monkeypatch, round(LOGINS_WINDOW_S * 1000))
    assert (await log_in(site)).status_code == 200


async def test_attempts_of_all_addresses_are_limited(site: World) -> None:
    await set_up(site)
    for number in range(LOGINS_MAX):
        assert (await log_in(site, "wrong", **{"X-Forwarded-For": f"198.51.100.{number}"})).status_code == 401

    assert (await log_in(site, **{"X-Forwarded-For": "203.0.113.1"})).status_code == 429


@pytest.mark.parametrize("form", ["2001:db8:1:2::{:x}", "2001:db8:1:2:{:x}::1%eth0", "::ffff:198.51.100.7"])
async def test_all_addresses_of_a_network_of_ipv6_are_one(site: World, form: str) -> None:
    await set_up(site)
    for number in range(LOGINS_PER_ADDRESS_MAX):
        assert (await log_in(site, "wrong", **{"X-Forwarded-For": form.format(number + 1)})).status_code == 401

    assert (await log_in(site, **{"X-Forwarded-For": form.format(99)})).status_code == 429
    assert (await log_in(site, **{"X-Forwarded-For": "2001:db8:1:3::1"})).status_code == 200


async def test_refused_attempts_ask_the_database_for_nothing(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(site)
    for _ in range(LOGINS_PER_ADDRESS_MAX):
        await log_in(site, "wrong password")
    reads = 0
    load = site.engine.store.load_credentials

    async def counted() -> Any:
        nonlocal reads
        reads += 1
        return await load()

    monkeypatch.setattr(site.engine.store, "load_credentials", counted)

    answers = [await log_in(site) for _ in range(20)]

    assert {answer.status_code for answer in answers} == {429}
    assert reads == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/session"), ("POST", "/api/session"), ("DELETE", "/api/session"), ("POST", "/api/setup")],
)
async def test_strangers_send_small_bodies(site: World, method: str, path: str) -> None:
    await site.refused(413, "body_too_large", method, path, content=b" " * (LOGIN_BODY_BYTES_MAX + 1))


async def test_a_long_password_in_any_script_fits(site: World) -> None:
    password = "🔑" * PASSWORD_CHARS_MAX
    body = msgspec.json.encode({"token": await link(site), "password": password}).decode()

    made = await site.client.post(
        "/api/setup", content=body.encode("ascii", "backslashreplace").replace(b"\\U0001f511", b"\\ud83d\\udd11")
    )
    site.client.cookies.clear()

    assert made.status_code == 200
    assert (await log_in(site, password)).status_code == 200


async def test_logging_out_of_no_session_writes_nothing(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_up(site)
    written: list[Any] = []
    submit = site.engine.store.submit

    def noted(request: Any) -> Any:
        written.append(request)
        return submit(request)

    monkeypatch.setattr(site.engine.store, "submit", noted)

    answer = await site.client.delete("/api/session", headers={"Cookie": "stepwell=nope"})

    assert answer.status_code == 200
    assert written == []


async def test_logging_in_often_is_no_attack(site: World) -> None:
    await set_up(site)

    assert {(await log_in(site)).status_code for _ in range(LOGINS_PER_ADDRESS_MAX + 1)} == {200}


# -- pages of others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://localhost:8288", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost:8288", "Sec-Fetch-Site": "same-site"},
        {},
    ],
)
async def test_a_page_of_another_site_does_nothing_with_a_session(site: World, headers: dict[str, str]) -> None:
    await set_up(site)
    await log_in(site)

    await site.refused(403, "foreign_origin", "POST", "/api/events", json={"name": "a"}, headers=headers)

    assert (await site.get("/api/events"))["items"] == []


@pytest.mark.parametrize(
    "headers",
    [OURS, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "https://behind.proxy", "Sec-Fetch-Site": "same-origin"}],
)
async def test_a_page_of_this_server_does(site: World, headers: dict[str, str]) -> None:
    await set_up(site)
    await log_in(site)

    assert (await site.client.post("/api/events", json={"name": "a"}, headers=headers)).status_code == 200


@pytest.mark.parametrize("path", ["/api/session", "/api/setup"])
async def test_no_other_page_logs_its_visitor_in(site: World, path: str) -> None:
    body = {"password": PASSWORD, "token": "x"}

    await site.refused(403, "foreign_origin", "POST", path, json=body, headers={"Origin": "https://evil.example"})


# -- API tokens -------------------------------------------------------------------------------------------------


async def make_token(site: World, name: str = "ci") -> dict[str, Any]:
    answer = await site.client.post(
        "/api/tokens", json={"name": name}, headers={"Authorization": f"Bearer {API_TOKEN}"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_token_is_shown_once_and_opens_the_api_until_it_is_revoked(site: World) -> None:
    made = await make_token(site)
    auth = {"Authorization": f"Bearer {made['token']}"}
    assert made["token"].startswith("sw_")

    assert await status(site, **auth) == 200
    [listed] = (await site.client.get("/api/tokens", headers=auth)).json()["items"]
    assert listed == {key: value for key, value in made.items() if key != "token"} | {
        "last_used_at": "2026-01-01T00:00:00.000Z"
    }

    assert (await site.client.delete(f"/api/tokens/{made['id']}", headers=auth)).json() == {"id": made["id"]}
    assert await status(site, **auth) == 401


async def test_no_cache_keeps_what_is_behind_the_login(production: World) -> None:
    kept = [
        await production.client.get("/api/runs"),
        await production.client.get("/api/session"),
        await production.client.post("/api/tokens", json={"name": "ci"}),
        await production.client.get("/api/nope"),
    ]

    assert {answer.headers["cache-control"] for answer in kept} == {"no-store"}


async def test_a_token_is_noted_as_used_once_an_hour(site: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make_token(site)
    auth = {"Authorization": f"Bearer {made['token']}"}
    seen: list[str] = []
    for minutes in (0, 59, 1):
        pass_time(site, monkeypatch, minutes * 60_000)
        await status(site, **auth)
        [listed] = (await site.client.get("/api/tokens", headers=auth)).json()["items"]
        seen.append(listed["last_used_at"])

    assert seen == ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z", "2026-01-01T01:00:00.000Z"]


async def test_another_replica_takes_a_revoked_token_for_some_seconds_at_most(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make_token(site)
    other = Access(site.engine.store, site.engine.clock)
    assert await other.is_api_token(made["token"])

    await site.context.access.revoke_token(made["id"])
    pass_time(site, monkeypatch, round(CREDENTIALS_KEPT_S * 1000))

    assert not await other.is_api_token(made["token"])


@pytest.mark.parametrize("id", ["nope", "01KDVZ0000000000000000000A"])
async def test_an_unknown_token_cannot_be_revoked(production: World, id: str) -> None:
    await production.refused(404, "token_not_found", "DELETE", f"/api/tokens/{id}")


@pytest.mark.parametrize("name", ["", "x" * 101, "c\0i", "\x1b[31mci", "two\nlines"])
async def test_a_token_has_a_name(production: World, name: str) -> None:
    await production.refused(400, "invalid_body", "POST", "/api/tokens", json={"name": name})


async def test_tokens_are_for_those_who_are_in(site: World) -> None:
    for method, path in (("GET", "/api/tokens"), ("POST", "/api/tokens"), ("DELETE", "/api/tokens/x")):
        await site.refused(401, "unauthorized", method, path)


async def test_only_hashes_are_stored(site: World, tmp_path: Path) -> None:
    token = await link(site)
    await site.post("/api/setup", {"token": token, "password": PASSWORD})
    made = await make_token(site)

    kept = _bytes_in(tmp_path)

    assert b"scrypt$" in kept
    for secret in (token, PASSWORD, site.client.cookies["stepwell"], made["token"]):
        assert secret.encode() not in kept


def _bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("stepwell.db*"))
