"""Durable endpoints: runs that begin in the app (protocol 7.4), over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.limits import ENDPOINT_SILENCE_MS, ENDPOINT_TOKEN_S
from stepwell.protocol.canonical import encode
from stepwell.protocol.ids import COMPLETE, RunId, step_hash
from stepwell.protocol.ops import Op
from stepwell.protocol.signature import bearer
from stepwell.server.token import is_token_for, make_token
from tests.server.world import SIGNING_KEY, FakeApps, World, error, ops, ran, result, running, sleep

RUN = "01KAT3Z6W00000000000000001"
DATA = {
    "domain": "https://api.example.com",
    "method": "POST",
    "path": "/orders",
    "fn": "",
    "ip": "1.2.3.4",
    "content_type": "application/json",
    "query_params": "a=1",
    "body": "eyJiIjogMX0=",
}
ANSWER = {"status": 201, "headers": {"content-type": "text/plain", "x-a": "b", "content-length": "999"}, "body": "hi"}


class Endpoints(FakeApps):
    """The transport of apps whose endpoints answer calls as ``answer`` has it."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: list[Reply] = []

    async def call(self, call: OutgoingCall) -> Reply:
        self.calls.append(call)
        return self.replies.pop(0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with running(tmp_path, apps=Endpoints()) as made:
        yield made


def complete(value: Any, op: str = "RunComplete") -> Op:
    """An op: the endpoint has answered."""
    return Op(id=COMPLETE, op=op, data=msgspec.Raw(msgspec.json.encode(value)))


def failed(id: str, op: str = "StepError") -> Op:
    """An op: a step, or with the id of the run's end the endpoint, has failed."""
    return Op(id=id, op=op, name="s", error={"name": "Error", "message": "boom"})


async def begin(world: World, *steps: Op, run_id: str = RUN, **more: Any) -> httpx2.Response:
    event = {"name": "inngest/http.request", "data": {**DATA, **more.pop("data", {})}}
    body = {"run_id": run_id, "event": event, "steps": steps, "ts": 1, "request_version": 2, "retries": 4, **more}
    return await world.client.post("/v1/checkpoint", content=msgspec.json.encode(body))


async def begun(world: World, *steps: Op, **more: Any) -> dict[str, str]:
    answer = await begin(world, *steps, **more)
    assert answer.status_code == 200, answer.text
    data: dict[str, str] = answer.json()["data"]
    return data


async def report(world: World, *steps: Op) -> httpx2.Response:
    body = msgspec.json.encode({"run_id": RUN, "fn_id": "f", "app_id": "a", "steps": steps, "ts": 1})
    return await world.client.post(f"/v1/checkpoint/{RUN}/steps", content=body)


async def output(world: World, token: str) -> httpx2.Response:
    return await world.client.get(f"/v1/http/runs/{RUN}/output", params={"token": token})


def replies(world: World, *given: Reply) -> None:
    assert isinstance(world.apps, Endpoints)
    world.apps.replies += given


async def test_a_run_that_stays_in_the_app_is_stored_and_calls_nobody(world: World) -> None:
    told = await begun(world, ran("a", 1))
    assert (await report(world, ran("b", 2))).status_code == 200
    assert (await report(world, complete(ANSWER))).status_code == 200

    run = await world.get(f"/api/runs/{RUN}")
    rows = (await world.get(f"/api/runs/{RUN}/timeline"))["rows"]

    assert (run["status"], run["output"], run["id"]) == ("completed", ANSWER, told["run_id"])
    assert [(row["title"], row["output"]) for row in rows if row["title"]] == [("a", 1), ("b", 2)]
    assert world.apps.calls == []


async def test_a_run_is_running_from_its_beginning_on(world: World) -> None:
    await begun(world)

    await world.post("/api/skip", {"duration": "5s"})
    got = await world.get(f"/api/runs/{RUN}/timeline")

    [row], run = got["rows"], got["run"]
    assert (run["status"], run["started_at"], run["waiting"]) == ("running", run["queued_at"], None)
    assert (run["durations"]["code_ms"], run["durations"]["queued_ms"]) == (5_000, 0)
    assert (row["status"], row["started_at"], row["due_at"]) == ("running", run["queued_at"], None)


async def test_app_and_function_are_made_on_first_use(world: World) -> None:
    told = await begun(world, ran("a"))
    again = await begun(world, ran("a"), run_id=RUN[:-1] + "2", data={"query_params": "", "body": ""})
    named = await begun(world, ran("a"), run_id=RUN[:-1] + "3", data={"fn": "pay"})

    [app] = (await world.get("/api/apps"))["items"]
    functions = (await world.get("/api/functions"))["items"]

    assert (app["name"], app["url"], app["function_count"]) == (DATA["domain"], DATA["domain"], 2)
    assert {function["name"]: function["triggers"] for function in functions} == {"POST /orders": [], "pay": []}
    assert (again["fn_id"], again["app_id"]) == (told["fn_id"], told["app_id"])
    assert (named["fn_id"] == told["fn_id"], named["app_id"]) == (False, told["app_id"])


async def test_the_request_is_the_event_of_the_run(world: World) -> None:
    told = await begun(world, ran("a"), data={"_inngest": {"correlation_id": "01ABC.x"}})

    [event] = (await world.client.get(f"/v0/runs/{told['run_id']}/batch")).json()

    assert (event["name"], event["data"]) == ("inngest/http.request", DATA)


async def test_a_run_begins_once(world: World) -> None:
    await begun(world, ran("a", 1))

    again = await begin(world, ran("a", 1))
    other = await begin(world, ran("b"), data={"path": "/other"})

    assert [(answer.status_code, answer.json()["code"]) for answer in (again, other)] == [(409, "run_exists")] * 2


async def test_a_run_of_which_the_server_stored_the_beginning_alone_is_taken_up_when_it_is_sent_again(
    world: World,
) -> None:
    await begun(world, complete(ANSWER), run_id=RUN[:-1] + "2")
    [function] = world.engine.registry.by_slug.values()
    assert await world.engine.begin_in_app(RunId(RUN), encode(DATA), function)

    answers = [await begin(world, ran("a", 1)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 409]
    assert (await world.client.get(f"/v0/runs/{RUN}/actions")).json() == {step_hash("a"): {"data": 1}}


async def test_a_sleep_hands_the_run_to_the_server_which_repeats_the_request(world: World) -> None:
    replies(world, ops(ran("b", 2)), result(ANSWER))
    told = await begun(world, ran("a", 1))

    assert (await report(world, sleep("nap", "1h"))).status_code == 200
    waiting = asyncio.create_task(output(world, told["token"]))
    await world.engine.skip(3_600_000)
    answer = await waiting

    assert (answer.status_code, answer.text, answer.headers["x-a"]) == (201, "hi", "b")
    first, second = world.apps.calls
    assert (first.url, first.body) == ("https://api.example.com/orders?a=1", b'{"b": 1}')
    assert first.endpoint is not None
    assert first.endpoint == second.endpoint
    assert (first.endpoint.method, first.endpoint.content_type) == ("POST", "application/json")
    assert (first.step_id, first.run_id, first.request_version) == ("step", RUN, 2)


async def test_what_the_app_can_not_do_may_be_the_first_it_says(world: World) -> None:
    replies(world, result(ANSWER))

    await begun(world, Op(id=step_hash("d"), op="DiscoveryRequest"))

    assert (await world.ended(RUN))["output"] == ANSWER


async def test_an_endpoint_without_steps_has_a_run_as_well(world: World) -> None:
    await begun(world, complete(ANSWER))

    assert (await world.get(f"/api/runs/{RUN}"))["output"] == ANSWER


async def test_a_planned_step_is_called_for_and_a_group_is_planned(world: World) -> None:
    replies(world, ops(ran("a", 1)), ops(ran("b", 2)), result(ANSWER))

    await begun(world, *(Op(id=step_hash(name), op="StepPlanned", name=name) for name in "ab"))
    await world.ended(RUN)

    calls = world.apps.calls
    assert {call.step_id for call in calls[:2]} == {step_hash("a"), step_hash("b")}
    assert calls[2].step_id == "step"
    assert [call.endpoint.is_plan_forced for call in calls if call.endpoint is not None] == [True, True, False]


async def test_a_failed_step_is_tried_again_by_the_server(world: World) -> None:
    replies(world, ops(ran("s", 1)), result(ANSWER))
    await begun(world, failed(step_hash("s")))
    assert world.apps.calls == []

    await world.engine.skip(60_000)

    assert (await world.ended(RUN))["status"] == "completed"
    assert len(world.apps.calls) == 2


async def test_a_step_that_failed_for_good_is_in_the_memo_of_the_call_that_follows(world: World) -> None:
    replies(world, result(ANSWER))
    await begun(world, ran("a"))
    world.apps.replies.insert(0, ops(sleep("nap", "1h")))  # type: ignore[attr-defined] # Endpoints

    await report(world, failed(step_hash("s"), "StepFailed"))
    await world.signals.until(lambda: bool(world.apps.calls))
    memo = (await world.client.get(f"/v0/runs/{RUN}/actions")).json()

    assert memo[step_hash("s")]["error"]["message"] == "boom"


@pytest.mark.parametrize(("op", "calls"), [("StepError", 1), ("StepFailed", 0)])
async def test_an_error_under_the_id_of_the_end_is_the_functions(op: str, calls: int, world: World) -> None:
    replies(world, error("again", no_retry=True))
    told = await begun(world, ran("a"))

    await report(world, failed(COMPLETE, op))
    await world.engine.skip(60_000)
    run = await world.ended(RUN)
    answer = await output(world, told["token"])

    assert (run["status"], len(world.apps.calls)) == ("failed", calls)
    assert (answer.status_code, answer.json()["message"]) == (500, "again" if calls else "boom")


async def test_an_app_that_falls_silent_is_called_after_a_while(world: World) -> None:
    replies(world, ops(ran("b", 2)), result(ANSWER))
    await begun(world, ran("a", 1))

    await world.engine.skip(ENDPOINT_SILENCE_MS - 1)
    assert world.apps.calls == []
    assert (await report(world, ran("a2", 1))).status_code == 200
    await world.engine.skip(ENDPOINT_SILENCE_MS - 1)
    assert world.apps.calls == []
    await world.engine.skip(1)

    run = await world.ended(RUN)
    rows = (await world.get(f"/api/runs/{RUN}/timeline"))["rows"]
    assert run["status"] == "completed"
    assert [row["title"] for row in rows if row["title"]] == ["a", "a2", "b"]


async def test_why_a_run_waits_is_told(world: World) -> None:
    await begun(world, ran("a"))

    told = await world.get(f"/api/runs/{RUN}/explain")

    assert [reason["kind"] for reason in told["reasons"]] == ["app"]
    assert told["summary"] == (
        "app 'https://api.example.com' works on it by itself; if it says no more until 2026-01-01T00:10:00.000Z"
        " (in 10m), the server calls it"
    )


async def test_what_an_app_reports_late_is_kept_and_its_end_counts(world: World) -> None:
    replies(world, ops(sleep("nap", "1h")))
    await begun(world, ran("a", 1))
    await world.engine.skip(ENDPOINT_SILENCE_MS)

    late = [await report(world, ran("b", 2)), await report(world, failed(step_hash("c")))]
    memo = (await world.client.get(f"/v0/runs/{RUN}/actions")).json()
    end = await report(world, complete(ANSWER))

    assert {answer.status_code for answer in (*late, end)} == {200}
    assert set(memo) == {step_hash("a"), step_hash("b")}
    assert (await world.ended(RUN))["output"] == ANSWER


async def test_the_end_may_be_said_twice_and_nothing_else_after_it(world: World) -> None:
    await begun(world, ran("a"))
    await report(world, complete(ANSWER))

    again, late = await report(world, complete(ANSWER)), await report(world, ran("b"))

    assert (again.status_code, late.status_code, late.json()["code"]) == (200, 404, "run_not_found")


async def test_the_end_of_another_sdk_is_wrapped_once_more(world: World) -> None:
    told = await begun(world, ran("a"))
    await report(world, complete({"data": ANSWER | {"duration": 5}}, "SyncRunComplete"))

    answer = await output(world, told["token"])

    assert (answer.status_code, answer.text) == (201, "hi")


async def test_an_output_of_another_shape_is_shown_as_it_is(world: World) -> None:
    told = await begun(world, ran("a"))
    await report(world, complete({"n": 1}))

    answer = await world.client.get(f"/v1/checkpoint/{RUN}/output", params={"token": told["token"]})

    assert (answer.status_code, answer.json()) == (200, {"n": 1})


async def test_a_token_is_for_one_run_one_hour_and_one_purpose(world: World) -> None:
    told = await begun(world, complete(ANSWER))
    other = await begun(world, complete(ANSWER), run_id=RUN[:-1] + "2")

    wrong = ["", "x", "a.b.c", told["realtime_token"], other["token"], told["token"][:-2], f"{told['token']}é"]
    answers = [await output(world, token) for token in wrong]

    assert {answer.status_code for answer in answers} == {401}
    secret = b"s"
    token = make_token(secret, "output", "dev", RUN, now_s=100)
    good = [is_token_for(token, secret, "output", "dev", RUN, now_s=now) for now in (100, 100 + ENDPOINT_TOKEN_S)]
    assert good == [True, False]
    assert not is_token_for(token, b"t", "output", "dev", RUN, now_s=100)


async def test_a_run_that_began_at_the_server_takes_no_reports(world: World) -> None:
    await world.register("f")
    replies(world, ops(sleep("nap", "1h")))
    event = await world.send("f.go")
    id = event["runs"][0]["id"]

    body = msgspec.json.encode({"run_id": id, "steps": [complete(1)]})
    answer = await world.client.post(f"/v1/checkpoint/{id}/steps", content=body)

    assert (answer.status_code, answer.json()["code"]) == (409, "stale_dispatch")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 100_000,
        b'{"run_id":"x","event":{"name":"inngest/http.request","data":{}},"steps":[]}',
        b'{"run_id":"%b","event":{"name":"a","data":{}},"steps":[]}' % RUN.encode(),
        *(
            b'{"run_id":"%b","event":{"name":"inngest/http.request","data":%b},"steps":[]}'
            % (RUN.encode(), msgspec.json.encode(DATA | {key: value}))
            for key, value in {
                "domain": "api",
                "path": "x",
                "method": "GET / HTTP/1.1\r\nX: y",
                "fn": "f" * 300,
                "body": 5,
            }.items()
        ),
    ],
)
async def test_a_malformed_run_says_what_is_wrong(body: bytes, world: World) -> None:
    answer = await world.client.post("/v1/checkpoint", content=body)

    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert answer.json()["error"]


async def test_in_production_reports_need_the_key_and_outputs_the_token(production: World) -> None:
    refused = await begin(production, complete(ANSWER))
    production.client.headers["Authorization"] = bearer(SIGNING_KEY)
    told = await begun(production, complete(ANSWER))
    del production.client.headers["Authorization"]
    unsigned = await report(production, ran("a"))

    assert (refused.status_code, unsigned.status_code) == (401, 401)
    assert (await output(production, told["token"])).text == "hi"


async def test_functions_with_the_trigger_start_as_well(world: World) -> None:
    await world.register("f", f={"triggers": [{"event": "inngest/http.request"}]})
    replies(world, result("f"))

    await begun(world, complete(ANSWER))
    await world.quiet()

    assert [call.endpoint for call in world.apps.calls] == [None]
