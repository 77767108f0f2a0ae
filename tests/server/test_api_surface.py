"""What all of ``/api`` shares: the document, unknown paths and methods, answers that the command line can read."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from stepwell.cli import answers
from stepwell.errors import QueryTimeout, StoreError
from tests.server.world import World, error, ops, sleep


def references(value: Any) -> set[str]:
    found = set(re.findall(r'"\$ref":\s*"([^"]+)"', msgspec.json.encode(value).decode()))
    return {reference.rpartition("/")[2] for reference in found}


async def test_the_document_describes_every_endpoint(world: World) -> None:
    document = await world.get("/api/openapi.json")

    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert document["openapi"] == "3.1.0"
    assert described == {
        ("/api/apps", "GET"),
        ("/api/apps/sync", "POST"),
        ("/api/apps/{name}", "DELETE"),
        ("/api/demo", "GET"),
        ("/api/demo", "POST"),
        ("/api/doctor", "GET"),
        ("/api/doctor", "POST"),
        ("/api/events", "GET"),
        ("/api/events", "POST"),
        ("/api/events/names", "GET"),
        ("/api/events/{id}", "GET"),
        ("/api/events/{id}/explain", "GET"),
        ("/api/functions", "GET"),
        ("/api/functions/stats", "GET"),
        ("/api/functions/{slug}", "GET"),
        ("/api/functions/{slug}/failures", "GET"),
        ("/api/functions/{slug}/stats", "GET"),
        ("/api/functions/{slug}/invoke", "POST"),
        ("/api/functions/{slug}/pause", "POST"),
        ("/api/functions/{slug}/resume", "POST"),
        ("/api/logs", "GET"),
        ("/api/runs", "GET"),
        ("/api/runs/stats", "GET"),
        ("/api/runs/{id}", "GET"),
        ("/api/runs/{id}/cancel", "POST"),
        ("/api/runs/{id}/config", "GET"),
        ("/api/runs/{id}/explain", "GET"),
        ("/api/runs/{id}/jobs/{job_id}/skip", "POST"),
        ("/api/runs/{id}/output", "GET"),
        ("/api/runs/{id}/rerun", "POST"),
        ("/api/runs/{id}/spans", "GET"),
        ("/api/runs/{id}/rows/{row}", "GET"),
        ("/api/runs/{id}/timeline", "GET"),
        ("/api/session", "DELETE"),
        ("/api/session", "GET"),
        ("/api/session", "POST"),
        ("/api/setup", "POST"),
        ("/api/skip", "POST"),
        ("/api/stream", "GET"),
        ("/api/tokens", "GET"),
        ("/api/tokens", "POST"),
        ("/api/tokens/{id}", "DELETE"),
    }


async def test_the_document_refers_to_nothing_that_it_lacks(world: World) -> None:
    document = await world.get("/api/openapi.json")

    assert references(document) == set(document["components"]["schemas"]) != set()


async def test_the_document_names_parameters_with_their_limits(world: World) -> None:
    operation = (await world.get("/api/openapi.json"))["paths"]["/api/runs"]["get"]

    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    assert parameters["limit"]["description"]
    assert "status" in parameters
    assert all(parameter["in"] == "query" for parameter in parameters.values())


async def test_the_document_of_production_asks_for_a_token_and_has_no_time_travel(production: World) -> None:
    document = await production.get("/api/openapi.json")

    assert document["security"] == [{"token": []}]
    assert "/api/skip" not in document["paths"]


@pytest.mark.parametrize("path", ["/api/", "/api/nope", "/api/runs/x/y", "/api/events/"])
async def test_an_unknown_path_is_answered_in_the_common_shape(world: World, path: str) -> None:
    await world.refused(404, "no_such_path", "GET", path)


async def test_a_method_that_a_path_has_not_names_those_it_has(world: World) -> None:
    message = await world.refused(405, "method_not_allowed", "PATCH", "/api/events")
    answer = await world.client.patch("/api/events")

    assert "GET, POST" in message
    assert answer.headers["Allow"] == "GET, POST"


async def test_head_is_answered_like_get(world: World) -> None:
    answer = await world.client.head("/api/runs")

    assert answer.status_code == 200


async def test_every_answer_says_what_kind_of_server_this_is(world: World) -> None:
    for path in ("/api/runs", "/api/nope", "/v1/events", "/dev"):
        assert (await world.client.get(path)).headers["X-Inngest-Server-Kind"] == "dev"


async def test_a_database_that_fails_is_said_in_the_common_shape(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(world.engine.store.insight, "find_runs", fail)

    assert "disk full" in await world.refused(503, "store", "GET", "/api/runs")


async def test_a_bug_is_answered_in_the_common_shape(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.engine.store.insight, "find_runs", fail)

    await world.refused(500, "internal_error", "GET", "/api/runs")


async def test_the_command_line_reads_each_answer(world: World) -> None:
    await world.register("f", "g", f={"triggers": [{"event": "f.go"}, {"cron": "0 3 * * *"}]})
    world.apps.answers["f"] = lambda _call: error("no")
    world.apps.answers["g"] = lambda _call: ops(sleep("wait", "1h"))
    failed = await world.run("f")
    await world.send("g.go")
    await world.quiet()

    async def read(shape: Any, path: str) -> Any:
        return msgspec.json.decode((await world.client.get(path)).content, type=shape)

    page = await read(answers.RunPage, "/api/runs")
    asleep = await read(answers.Timeline, f"/api/runs/{page.items[0].id}/timeline")
    shown = await read(answers.Timeline, f"/api/runs/{failed['id']}/timeline")
    functions = await read(answers.FunctionList, "/api/functions")
    apps = await read(answers.AppList, "/api/apps")
    assert asleep.rows[-1].waiting
    assert asleep.run.waiting
    assert shown.run.error.message == shown.rows[0].error.message == "no"
    assert [trigger.cron for trigger in functions.items[0].triggers] == [None, "0 3 * * *"]
    assert apps.items[0].function_count == 2


async def test_a_question_that_takes_too_long_is_answered_in_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_: object) -> None:
        raise QueryTimeout.after(5.0)

    monkeypatch.setattr(world.engine.store.insight, "find_runs", slow)

    message = await world.refused(503, "query_timeout", "GET", "/api/runs")

    assert message == "the search took longer than 5 s: narrow the time range"
