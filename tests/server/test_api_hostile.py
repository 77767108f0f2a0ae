"""Whatever a request to ``/api`` holds: it is answered, soon, and what is wrong with it is never the server's bug."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.server.world import World, error, ops, sleep

ANSWER_S: Final = 5.0
ID: Final = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
TIMES: Final = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "1969-12-31T23:59:59.999Z",
    "2026-01-01",
    "9999-12-31T23:59:59.999Z",
    "9999-12-31T23:59:59-23:59",
)
VALUES: Final = (
    *("", " ", "0", "-1", "9223372036854775808", "-9223372036854775809", "1" * 5_000, "1e9", "NaN", "²", "٣", "true"),
    *("%", "_", "\\", "'", '"', "' or 1=1 --", "\0", "\udcff", "é", "\uffff", ",", "a,b", "x" * 9_000),
    *(ID, "7" + "Z" * 25, "0" * 26, "8" + "Z" * 25, ID.lower(), ",".join([ID] * 101), "failed,failed", "run:x"),
    *TIMES,
    *("0000-00-00T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2016-12-31T23:59:60Z"),
    *("data.user_id = 42", "error: %", "error:", "''", "(" * 3_000, "!" * 5_000 + "true", "[" * 3_000, "1/0 == 1"),
    *("event.data['\\u0000'] == 'x'", "event.data.s == '\\ud800'", "event.name.matches('(a{1000}){1000}')"),
)
BODIES: Final = (
    *(b"", b"null", b"[]", b"{}", b"{", b"1", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000),
    *(b'{"name": 1}', b'{"name": ""}', b'{"name": "a\\u0000b"}', b'{"name": "x", "data": {"\\u0000": "\\u0000"}}'),
    *(b'{"name": "x", "ts": 99999999999999999999}', b'{"name": "x", "ts": 1e400}', b'{"name": "x", "data": 1}'),
    *(b'{"data": {"x": 1e999}}', b'{"data": {"x": NaN}}', b'{"data": {"\xed\xa0\x80": 1}}', b'{"v": "\\u0000"}'),
    b'{"name": "x", "data": %b}' % (b"[" * 3_000 + b"]" * 3_000),
    *(b'{"url": "x"}', b'{"url": "http://[::1"}', b'{"url": "http://localhost:99999/"}', b'{"on": 1}'),
    *(b'{"by": "9999999999999d"}', b'{"duration": "1h"}', b'{"ms": 9223372036854775808}', b'{"reason": "\\u0000"}'),
    *(b'{"from_step": "\\u0000"}', b'{"password": ""}', b'{"token": "", "password": "0123456789a"}'),
    *(b'[{"name": "x"}, {"name": 1}]', b'{"events": {}}', b'{"user": 1}'),
)


FOR_DATABASES: Final = ("\0", "\udcff", "é", "'", "9223372036854775808", "7" + "Z" * 25, ",".join([ID] * 100), *TIMES)
"""Those that a database may take in another way."""


def requests(document: Any, known: dict[str, str], values: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield what to ask of each endpoint: each parameter with each value, and each body."""
    for path, methods in document["paths"].items():
        for name, operation in methods.items():
            method = name.upper()
            if (method, path) in (("POST", "/api/demo"), ("POST", "/api/doctor")):
                continue  # these do something to this machine, whatever is in them
            real = path.format(**known)
            for parameter in operation.get("parameters", ()):
                for value in values:
                    raw = value.encode(errors="surrogateescape")
                    if parameter["in"] == "path":
                        yield method, path.format(**known | {parameter["name"]: quote(raw, safe="")}), {}
                    elif path != "/api/stream" or (parameter["name"] == "topics" and value not in ("", ",")):
                        yield method, f"{real}?{parameter['name']}={quote(raw)}", {}
            if method != "GET":
                yield from ((method, real, {"content": body}) for body in BODIES)
    for path in ("/api/runs", "/api/runs/stats", "/api/events", "/api/logs"):
        yield from (("GET", path, {"params": {"from": start, "until": end}}) for start in TIMES for end in TIMES)


async def test_no_request_breaks_the_api(either: World) -> None:
    world = either
    world.apps.answers |= {"fail": lambda _: error("100 %_'"), "sleep": lambda _: ops(sleep("nap", "1h"))}
    await world.register("fail", "sleep")
    failed = await world.run("fail", {"user_id": 42})
    await world.send("sleep.go")
    known = {"id": failed["id"], "slug": "shop-fail", "name": "shop", "row": "x", "job_id": "x"}
    values = FOR_DATABASES if world.database_url.startswith("postgres") else VALUES
    asked = list(requests(await world.get("/api/openapi.json"), known, values))

    broken: list[str] = []
    for method, path, request in asked:
        shown = f"{method} {path[:150]} {str(request)[:150]}"
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await world.client.request(method, path, **request)
        except TimeoutError:
            broken.append(f"{shown}: no answer")
            continue
        is_of_app = answer.status_code == 502 and path.startswith("/api/apps/sync")
        if answer.status_code >= 500 and not is_of_app:
            broken.append(f"{shown}: {answer.status_code} {answer.text[:150]}")
        elif answer.status_code >= 400:
            assert set(json.loads(answer.content)["error"]) <= {"code", "message", "path"}, shown
    assert len(asked) > 1_000
    assert not broken, "\n".join(broken)


async def test_no_request_breaks_what_sdks_call(either: World) -> None:
    paths = ("/v1/events", "/v1/runs/{id}", "/v1/events/{id}/runs", "/v0/runs/{id}/actions", "/v1/apps/{id}/functions")

    for path in paths:
        for value in VALUES:
            raw = quote(value.encode(errors="surrogateescape")[:3_000], safe="")
            asked = (
                [path.format(id=raw)]
                if "{" in path
                else [f"{path}?{name}={raw}" for name in ("limit", "name", "cursor")]
            )
            for each in asked:
                answer = await either.client.get(each)
                assert answer.status_code < 500, (each[:150], answer.text[:200])


@pytest.mark.parametrize("limit", ["²", "0", "000000001000000", "101", "1" * 5_000, "-1", "1.0"])
async def test_a_limit_that_is_none_is_refused_to_sdks(world: World, limit: str) -> None:
    answer = await world.client.get("/v1/events", params={"limit": limit})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")
