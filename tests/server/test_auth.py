"""Who may use what: tokens in production, names and origins in dev."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from stepwell.protocol.signature import bearer, hashed_key
from tests.server.world import API_TOKEN, DEV, SIGNING_KEY, World, running

OPEN = ("/health", "/e/any")
GUARDED = ("/api/runs", "/api/openapi.json", "/api/nope", "/api", "/v1/events", "/v0/runs/x/actions", "/dev")


# -- production -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [API_TOKEN, "another-token"])
async def test_each_token_opens_the_api(production: World, token: str) -> None:
    answer = await production.client.get("/api/runs", headers={"Authorization": f"bearer {token}"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nope",
        f"Basic {API_TOKEN}",
        API_TOKEN,
        f"Bearer {API_TOKEN}x",
        f"Bearer {API_TOKEN[:-1]}",
        f"Bearer {SIGNING_KEY}",
        "Bearer event-key-of-tests",
        "Bearer \xff\xfe",
        "Bearer " + "x" * 10_000,
    ],
)
async def test_anything_else_does_not_open_it(production: World, authorization: str) -> None:
    headers = {b"Authorization": authorization.encode("latin-1")}

    for path in ("/api/runs", "/api/openapi.json", "/api/nope", "/api"):
        message = await production.refused(401, "unauthorized", "GET", path, headers=headers)
        assert "API token" in message


async def test_without_a_header_the_answer_says_what_is_missing(production: World) -> None:
    del production.client.headers["Authorization"]

    answer = await production.client.get("/api/runs")

    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer" in answer.json()["error"]["message"]


async def test_a_second_authorization_header_is_no_way_in(production: World) -> None:
    headers = [("Authorization", f"Bearer {API_TOKEN}"), ("Authorization", "Bearer nope")]

    await production.refused(401, "unauthorized", "GET", "/api/runs", headers=headers)


async def test_a_refused_request_does_nothing(production: World) -> None:
    await production.register("f")
    token = production.client.headers.pop("Authorization")

    await production.refused(401, "unauthorized", "POST", "/api/events", json={"name": "f.go"})
    await production.refused(401, "unauthorized", "DELETE", "/api/apps/shop")

    production.client.headers["Authorization"] = token
    assert (await production.get("/api/events"))["items"] == []
    assert len((await production.get("/api/apps"))["items"]) == 1


@pytest.mark.parametrize(
    "authorization", [bearer(SIGNING_KEY), f"Bearer {hashed_key(SIGNING_KEY)}", f"Bearer {SIGNING_KEY}"]
)
async def test_the_signing_key_opens_what_sdks_call(production: World, authorization: str) -> None:
    answer = await production.client.get("/v1/events", headers={"Authorization": authorization})

    assert answer.status_code == 200


@pytest.mark.parametrize("authorization", ["", "Bearer", f"Bearer {API_TOKEN}", f"Bearer {'0' * 64}", "Bearer é"])
async def test_nothing_else_opens_what_sdks_call(production: World, authorization: str) -> None:
    headers = {b"Authorization": authorization.encode("latin-1")}
    requests = [
        ("GET", "/v1/events"),
        ("GET", "/v1/runs/x"),
        ("DELETE", "/v1/runs/x"),
        ("GET", "/v0/runs/x/actions"),
        ("POST", "/invoke/f"),
        ("DELETE", "/fn/remove?url=x"),
        ("POST", "/fn/register"),
    ]

    for method, path in requests:
        answer = await production.client.request(method, path, headers=headers)
        assert answer.status_code == 401, path
        assert answer.json()["status"] == 401
        assert isinstance(answer.json()["error"], str)


async def test_a_foreign_host_name_is_fine_in_production(production: World) -> None:
    answer = await production.client.get("/api/runs", headers={"Host": "jobs.example.com"})

    assert answer.status_code == 200


# -- dev --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8288",
        "LOCALHOST:1",
        "localhost.",
        "app.localhost:8288",
        "127.0.0.1:8288",
        "[::1]:8288",
        "192.168.1.7:8288",
        "stepwell:8288",
        "host.docker.internal:8288",
        socket.gethostname(),
    ],
)
async def test_names_that_no_foreign_record_leads_here_are_served(world: World, host: str) -> None:
    answer = await world.client.get("/api/runs", headers={"Host": host})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8288",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "evil.example/localhost",
        "evil.example?localhost",
        "[::1",
        "",
        "notlocalhost.com",
        "é.example",
    ],
)
@pytest.mark.parametrize("path", GUARDED)
async def test_a_page_that_was_rebound_reads_nothing(world: World, host: str, path: str) -> None:
    await world.refused(403, "foreign_host", "GET", path, headers={"Host": host.encode("latin-1")})


async def test_a_second_host_header_is_no_way_in(world: World) -> None:
    headers = [("Host", "localhost"), ("Host", "evil.example")]

    await world.refused(403, "foreign_host", "GET", "/api/runs", headers=headers)


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8288", "http://[::1]:5173"])
async def test_pages_of_this_machine_may_call(world: World, origin: str) -> None:
    answer = await world.client.post("/api/events", json={"name": "a"}, headers={"Origin": origin})

    assert answer.status_code == 200


async def test_the_servers_own_pages_may_call_from_another_machine(world: World) -> None:
    headers = {"Host": "192.168.1.7:8288", "Origin": "http://192.168.1.7:8288"}

    assert (await world.client.post("/api/events", json={"name": "a"}, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://localhost.evil.example",
        "http://192.168.1.7:8288",
        "http://stepwell",
        "http://[",
        "file://",
        "http://localhost@evil.example",
    ],
)
@pytest.mark.parametrize("path", ["/api/events", "/invoke/f", "/fn/register"])
async def test_pages_from_elsewhere_may_not(world: World, origin: str, path: str) -> None:
    await world.refused(403, "foreign_origin", "POST", path, json={"name": "a"}, headers={"Origin": origin})


async def test_the_event_api_answers_pages_of_any_origin(world: World) -> None:
    headers = {"Origin": "https://shop.example", "Host": "tunnel.example"}

    answer = await world.client.post("/e/key", json={"name": "a"}, headers=headers)

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://shop.example")


async def test_the_name_to_listen_on_is_a_name_of_this_server(tmp_path: Path) -> None:
    async with running(tmp_path, msgspec.structs.replace(DEV, host="dev.example.com")) as world:
        answer = await world.client.get("/api/runs", headers={"Host": "dev.example.com:8288"})

    assert answer.status_code == 200
