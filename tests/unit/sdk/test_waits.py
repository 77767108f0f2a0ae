"""What the server does for a run: what is asked of it on the wire, and what handlers get of its answers."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from typing import Any, assert_type

import httpx2
import msgspec
import pytest

from stepwell import (
    Event,
    FetchResponse,
    InvokeTimeoutError,
    SendError,
    Signal,
    Step,
    StepError,
    StepUsageError,
    Stepwell,
    SyncStep,
)
from stepwell.protocol.ids import step_hash
from stepwell.sdk.client import Client
from tests.unit.sdk.pretend import Answer, PretendHttp, PretendRun, new_app

Call = Callable[[Any], Any]


class World:
    """Handlers that call one step, async or plain, and what became of it."""

    def __init__(self, *, is_plain: bool) -> None:
        self.is_plain = is_plain
        self.sw = new_app()
        self.results: list[Any] = []

    def run(self, call: Call, **options: Any) -> PretendRun:
        def plain(step: SyncStep) -> None:
            self.results.append(call(step))

        async def handler(step: Step) -> None:
            self.results.append(await call(step))

        self.sw.function("f", on="test/event")(plain if self.is_plain else handler)
        return PretendRun(self.sw, "f", is_sync=self.is_plain, **options)

    async def op(self, call: Call) -> Any:
        """Return the one op that a step is reported by, as JSON."""
        answer = await self.run(call).call()
        assert answer.status == 206, answer.body
        assert len(answer.body) == 1
        return answer.body[0]

    async def result(self, call: Call, memo: Any) -> Any:
        """Return what the step gives when this is known of it."""
        run = self.run(call, given={"w": memo})
        answer = await run.end()
        assert answer.status == 200, answer.body
        return self.results[-1]

    async def refusal(self, call: Call) -> Answer:
        return await self.run(call).call()


@pytest.fixture(params=[False, True], ids=["async", "plain"])
def world(request: pytest.FixtureRequest) -> World:
    return World(is_plain=request.param)


def other() -> None: ...


other_function = new_app().function("other", on=[])(other)
W = step_hash("w")

OPS: list[tuple[Call, dict[str, Any]]] = [
    (
        lambda step: step.wait_for_event("w", "shop/paid", match="data.order", timeout="3d"),
        {
            "op": "WaitForEvent",
            "name": "shop/paid",
            "opts": {"timeout": "3d", "if": "event.data.order == async.data.order", "since": "run_start"},
        },
    ),
    (
        lambda step: step.wait_for_event(
            "w", "paid", if_="async.data.n > 1", timeout=datetime.timedelta(minutes=90), since=None
        ),
        {"op": "WaitForEvent", "name": "paid", "opts": {"timeout": "1h30m", "if": "async.data.n > 1"}},
    ),
    (
        lambda step: step.wait_for_event("w", "paid", timeout=0, since=None),
        {"op": "WaitForEvent", "name": "paid", "opts": {"timeout": "0s"}},
    ),
    (
        lambda step: step.wait_for_signal("w", "approve-1", timeout="1d"),
        {
            "op": "WaitForSignal",
            "name": "approve-1",
            "opts": {"signal": "approve-1", "timeout": "1d", "conflict": "fail", "keep": True},
        },
    ),
    (
        lambda step: step.wait_for_signal("w", "s", timeout=5, on_conflict="replace", takes_kept=False),
        {"op": "WaitForSignal", "name": "s", "opts": {"signal": "s", "timeout": "5s", "conflict": "replace"}},
    ),
    (
        lambda step: step.invoke("w", other_function, data={"amount": 7}, timeout="1h"),
        {
            "op": "InvokeFunction",
            "name": "w",
            "opts": {"function_id": "acme-other", "payload": {"data": {"amount": 7}}, "timeout": "1h"},
        },
    ),
    (
        lambda step: step.invoke("w", "billing-charge"),
        {"op": "InvokeFunction", "name": "w", "opts": {"function_id": "billing-charge", "payload": {"data": {}}}},
    ),
    (
        lambda step: step.invoke("w", "billing-charge", data={"at": datetime.date(2030, 1, 31)}),
        {
            "op": "InvokeFunction",
            "name": "w",
            "opts": {"function_id": "billing-charge", "payload": {"data": {"at": "2030-01-31"}}},
        },
    ),
    (
        lambda step: step.fetch("w", "https://example.com/"),
        {"op": "Gateway", "name": "w", "opts": {"url": "https://example.com/", "method": "GET", "headers": {}}},
    ),
    (
        lambda step: step.fetch("w", "http://a.b/c?d", method="put", headers={"X-A": "1"}, body="text"),
        {
            "op": "Gateway",
            "name": "w",
            "opts": {"url": "http://a.b/c?d", "method": "PUT", "headers": {"X-A": "1"}, "body": "text"},
        },
    ),
    (
        lambda step: step.fetch("w", "http://a.b", method="POST", json={"n": 1}),
        {
            "op": "Gateway",
            "name": "w",
            "opts": {
                "url": "http://a.b",
                "method": "POST",
                "headers": {"content-type": "application/json"},
                "body": '{"n":1}',
            },
        },
    ),
    (
        lambda step: step.fetch("w", "http://a.b", method="POST", headers={"Content-Type": "application/x"}, json=[]),
        {
            "op": "Gateway",
            "name": "w",
            "opts": {
                "url": "http://a.b",
                "method": "POST",
                "headers": {"Content-Type": "application/x"},
                "body": "[]",
            },
        },
    ),
    (
        lambda step: step.ai.infer("w", url="https://ai.test/v1/chat", auth_key="sk-1", body={"model": "m"}),
        {
            "op": "AIGateway",
            "name": "w",
            "opts": {
                "type": "step.ai.infer",
                "url": "https://ai.test/v1/chat",
                "headers": {},
                "auth_key": "sk-1",
                "format": "openai-chat",
                "body": {"model": "m"},
            },
        },
    ),
]


@pytest.mark.parametrize(("call", "op"), OPS)
async def test_a_step_is_asked_of_the_server_as_the_protocol_has_it(
    world: World, call: Call, op: dict[str, Any]
) -> None:
    assert await world.op(call) == {"id": W, "displayName": "w", **op}


EVENT = {"name": "paid", "data": {"n": 1}, "id": "e2", "ts": 1_700_000_000_001, "user": {"id": 5}}

RESULTS: list[tuple[Call, Any, Any]] = [
    (
        lambda step: step.wait_for_event("w", "paid", timeout="1d"),
        EVENT,
        Event("paid", {"n": 1}, "e2", 1_700_000_000_001, {"id": 5}),
    ),
    (
        lambda step: step.wait_for_event("w", "paid", timeout="1d"),
        {"data": {"name": "paid", "data": None, "user": None}},
        Event("paid"),
    ),
    (lambda step: step.wait_for_event("w", "paid", timeout="1d"), None, None),
    (
        lambda step: step.wait_for_signal("w", "s", timeout="1d"),
        {"data": {"signal": "s", "data": {"by": "ann"}}},
        Signal("s", {"by": "ann"}),
    ),
    (lambda step: step.wait_for_signal("w", "s", timeout="1d"), {"data": {"signal": "s", "data": None}}, Signal("s")),
    (lambda step: step.wait_for_signal("w", "s", timeout="1d"), None, None),
    (lambda step: step.invoke("w", "a-b"), {"data": [1, 2]}, [1, 2]),
    (
        lambda step: step.fetch("w", "http://a.b"),
        {"data": {"url": "http://a.b/", "headers": {"Content-Type": "x"}, "body": '{"n":1}', "status_code": 404}},
        FetchResponse(404, {"Content-Type": "x"}, '{"n":1}', "http://a.b/"),
    ),
    (
        lambda step: step.ai.infer("w", url="http://ai.test", body={}),
        {"data": {"choices": [{"message": "hi"}]}},
        {"choices": [{"message": "hi"}]},
    ),
]


@pytest.mark.parametrize(("call", "memo", "result"), RESULTS)
async def test_a_handler_gets_what_the_server_knows_of_its_step(
    world: World, call: Call, memo: Any, result: Any
) -> None:
    assert await world.result(call, memo) == result


def test_a_response_reads_its_headers_and_body() -> None:
    response = FetchResponse(201, {"Content-Type": "application/json"}, '{"n":1}')

    assert response.is_ok
    assert not FetchResponse(304).is_ok
    assert response.header("content-type") == "application/json"
    assert response.header("etag") is None
    assert response.json() == {"n": 1}
    with pytest.raises(ValueError, match=r"malformed|truncated"):
        FetchResponse(200, {}, "<html>").json()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"name": "ValueError", "message": "no stock", "stack": "Traceback …"}, StepError),
        ({"name": "InngestInvokeTimeoutError", "message": "Timed out …", "error": "…"}, InvokeTimeoutError),
        ({"name": "AIGatewayError", "message": "429", "data": {"error": "slow down"}}, StepError),
    ],
)
async def test_a_failure_is_raised_at_the_step_with_what_is_known_of_it(
    world: World, error: dict[str, Any], kind: type[StepError]
) -> None:
    run = world.run(lambda step: step.invoke("w", "a-b"), given={"w": {"error": error}})

    answer = await run.end()

    assert (answer.status, answer.headers["X-Inngest-No-Retry"]) == (400, "true")
    assert (answer.body["name"], answer.body["message"]) == (error["name"], error["message"])

    caught: list[StepError] = []

    def plain(step: SyncStep) -> None:
        try:
            step.invoke("w", "a-b")
        except StepError as raised:
            caught.append(raised)

    world.sw.function("g", on="test/event")(plain)
    await PretendRun(world.sw, "g", given={"w": {"error": error}}).end()
    assert type(caught[0]) is kind
    assert (caught[0].name, caught[0].traceback) == (error["name"], error.get("stack", ""))
    assert caught[0].data == error.get("data")


REFUSED: list[tuple[Call, str]] = [
    (lambda step: step.wait_for_event("w", "", timeout="1d"), "step 'w' waits for the event ''"),
    (lambda step: step.wait_for_event("w", "x" * 513, timeout="1d"), "of up to 512 characters"),
    (lambda step: step.wait_for_event("w", Event, timeout="1d"), "give the name of one"),
    (lambda step: step.wait_for_event("w", "a", timeout="367d"), "step 'w' waits '367d'; the most is 366 days"),
    (lambda step: step.wait_for_event("w", "a", timeout="soon"), "step 'w': 'soon' is not a duration"),
    (lambda step: step.wait_for_event("w", "a", timeout=None), "step 'w':"),
    (lambda step: step.wait_for_event("w", "a", timeout="1d", since="yesterday"), "since is 'run_start' or None"),
    (lambda step: step.wait_for_event("w", "a", timeout="1d", match="data.x", if_="true"), "either match or if_"),
    (lambda step: step.wait_for_event("w", "a", timeout="1d", match="event.data.x"), "such as data.orderId"),
    (lambda step: step.wait_for_event("w", "a", timeout="1d", match="data.x == 1"), "such as data.orderId"),
    (lambda step: step.wait_for_event("w", "a", timeout="1d", match=""), "such as data.orderId"),
    (lambda step: step.wait_for_event("w", "a", timeout="1d", if_=""), "if_ is a CEL expression of 1 to 10000"),
    (lambda step: step.wait_for_signal("w", "", timeout="1d"), "step 'w': a signal's name has 1 to 512 characters"),
    (lambda step: step.wait_for_signal("w", "x" * 513, timeout="1d"), "a signal's name has 1 to 512 characters"),
    (lambda step: step.wait_for_signal("w", "s", timeout="1d", on_conflict="skip"), "on_conflict is 'fail' or"),
    (lambda step: step.send_signal("w", ""), "step 'w': a signal's name has 1 to 512 characters"),
    (lambda step: step.invoke("w", other), "step 'w' invokes <function other"),
    (lambda step: step.invoke("w", "a-b", data=[1]), "invokes 'a-b' with list as data; give a mapping"),
    (lambda step: step.wait_for_event("w", "a\0", timeout="1d"), "step 'w' waits for the event 'a\\x00'"),
    (lambda step: step.invoke("w", ""), "give a function of this app, or the id"),
    (lambda step: step.invoke("w", "a-b", data={"x": object()}), "can't be written as JSON"),
    (lambda step: step.invoke("w", "a-b", data={"x": "x" * 4 * 1024 * 1024}), "the limit is 4194304"),
    (lambda step: step.fetch("w", "/path"), "step 'w': '/path' is no URL that the server can fetch"),
    (lambda step: step.fetch("w", "ftp://a.b"), "is no URL"),
    (lambda step: step.fetch("w", "http://[x"), "is no URL"),
    (lambda step: step.fetch("w", "http://a.b", body="x", json=1), "step 'w': give either body or json"),
    (lambda step: step.fetch("w", "http://a.b", body=b"\xff"), "a body travels as text"),
    (lambda step: step.ai.infer("w", url="", body={}), "is no URL"),
    (lambda step: step.wait_for_event("", "a", timeout="1d"), "has the id ''"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
async def test_a_step_that_cannot_be_fails_the_run_for_good_with_its_name(
    world: World, call: Call, message: str
) -> None:
    answer = await world.refusal(call)

    assert (answer.status, answer.headers["X-Inngest-No-Retry"]) == (400, "true")
    assert answer.body["code"] == StepUsageError.code
    assert message in answer.body["message"]


@pytest.mark.parametrize("is_plain", [False, True], ids=["async", "plain"])
async def test_a_wait_that_looks_back_names_the_events_that_the_run_has_had(is_plain: bool) -> None:
    """Else waits in a loop would get the first event again and again."""
    sw = new_app()

    @sw.function("async", on="chat")
    async def f(step: Step) -> None:
        for _ in range(2):
            await step.wait_for_event("next", "chat", timeout="1d")
        await step.wait_for_event("paid", "paid", timeout="1d")
        await step.wait_for_event("new", "chat", timeout="1d", since=None)
        await step.wait_for_event("next", "chat", timeout="1d")

    @sw.function("plain", on="chat")
    def g(step: SyncStep) -> None:
        for _ in range(2):
            step.wait_for_event("next", "chat", timeout="1d")
        step.wait_for_event("paid", "paid", timeout="1d")
        step.wait_for_event("new", "chat", timeout="1d", since=None)
        step.wait_for_event("next", "chat", timeout="1d")

    event = {"name": "chat", "id": "e0", "ts": 1, "data": {}}
    given = {"next": {**event, "id": "e1"}, "new": {**event, "id": "e2"}}
    run = PretendRun(sw, "plain" if is_plain else "async", event=event, given=given)

    await run.end()

    assert [op.option("seen") for answer in run.answers for op in answer.ops] == [
        ["e0"],
        ["e0", "e1"],
        None,
        None,
        ["e0", "e1", "e2"],
    ]


async def test_waits_that_begin_together_are_asked_for_together() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    def f(step: SyncStep) -> Any:
        return step.parallel(
            [lambda: step.wait_for_event("paid", "paid", timeout="1d"), lambda: step.invoke("ask", "a-b")]
        )

    run = PretendRun(sw, "f", given={"paid": EVENT, "ask": {"data": 5}})

    answer = await run.end()

    assert run.titles == [["WaitForEvent paid", "InvokeFunction ask"], ["200"]]
    assert answer.body[0]["name"] == "paid"
    assert answer.body[1] == 5


async def test_what_is_invoked_or_raced_keeps_its_type_for_type_checkers() -> None:
    sw = new_app()

    @sw.function("slow", on=[])
    async def slow() -> int:
        return 1

    @sw.function("quick", on=[])
    def quick() -> str:
        return ""

    @sw.function("f", on="test/event")
    async def f(step: Step) -> list[Any]:
        number = assert_type(await step.invoke("slow", slow), int)
        text = assert_type(await step.invoke("quick", quick), str)
        first = await step.wait_for_any(paid=step.wait_for_event("paid", "paid", timeout=1), nap=step.sleep("nap", 1))
        assert_type(first, tuple[str, Event | None])
        return [number, text, first]

    given = {"slow": {"data": 1}, "quick": {"data": "x"}}

    assert (await PretendRun(sw, "f", given=given).end()).body == [1, "x", ["paid", None]]


# -- Signals that are sent ------------------------------------------------------------------------------------------


def with_server(sw: Stepwell, http: PretendHttp) -> None:
    sw.client = Client(sw.settings, transport=httpx2.MockTransport(http), backoff_s=0)


async def test_a_signal_is_sent_by_a_step_of_the_app(world: World) -> None:
    http = PretendHttp(httpx2.Response(200, json={"data": {"run_id": "01A"}, "metadata": {}}))
    with_server(world.sw, http)
    run = world.run(lambda step: step.send_signal("w", "approve-1", {"by": "ann"}))

    await run.end()

    assert run.answers[0].body == [
        {
            "id": W,
            "op": "StepRun",
            "name": "w",
            "displayName": "w",
            "opts": {"type": "step.sendSignal"},
            "data": "01A",
        }
    ]
    assert world.results[-1] == "01A"
    assert len(http.requests) == 1
    assert (http.requests[0].method, str(http.requests[0].url)) == ("POST", "http://server.test:8288/v1/signals")
    sent = msgspec.json.decode(http.requests[0].content)
    assert uuid.UUID(sent.pop("id"))  # the step's idempotency key
    assert sent == {"signal": "approve-1", "data": {"by": "ann"}, "keep": True}


@pytest.fixture(params=[False, True], ids=["async", "sync"])
def send_signal(request: pytest.FixtureRequest) -> Callable[..., Any]:
    async def send(sw: Stepwell, *args: Any, **kwargs: Any) -> str | None:
        if request.param:
            found = sw.send_signal_sync(*args, **kwargs)
            sw.close()
        else:
            found = await sw.send_signal(*args, **kwargs)
            await sw.aclose()
        return found

    return send


@pytest.mark.parametrize(
    ("response", "run_id"),
    [
        (httpx2.Response(200, json={"data": {"run_id": "01A"}}), "01A"),
        (httpx2.Response(200, json={"data": {"run_id": None}}), None),
        (httpx2.Response(404, json={"error": "No signal found"}), None),
    ],
    ids=["waited for", "kept", "no one waits"],
)
async def test_the_app_sends_a_signal_and_learns_who_waited(
    send_signal: Callable[..., Any], response: httpx2.Response, run_id: str | None
) -> None:
    sw = new_app()
    http = PretendHttp(response)
    with_server(sw, http)

    assert await send_signal(sw, "s", keep=False) == run_id
    sent = msgspec.json.decode(http.requests[0].content)
    assert len(sent.pop("id")) == 32
    assert sent == {"signal": "s", "data": None}


async def test_a_signal_is_sent_again_until_the_server_is_there(send_signal: Callable[..., Any]) -> None:
    sw = new_app()
    http = PretendHttp(
        httpx2.ConnectError("refused"), httpx2.Response(503), httpx2.Response(200, json={"data": {"run_id": "01A"}})
    )
    with_server(sw, http)

    assert await send_signal(sw, "s", 1) == "01A"
    assert len(http.requests) == 3
    assert len({request.content for request in http.requests}) == 1  # the same id: it counts once


@pytest.mark.parametrize(
    ("response", "message", "count"),
    [
        (httpx2.ConnectError("refused"), "the server at http://server.test:8288 can't be reached (refused)", 5),
        (httpx2.Response(400, json={"error": {"message": "too long"}}), "refused the signal 's' with HTTP 400", 1),
        (httpx2.Response(401), "STEPWELL_SIGNING_KEY must be the server's", 1),
    ],
)
async def test_a_signal_that_is_not_taken_says_why(
    send_signal: Callable[..., Any], response: Any, message: str, count: int
) -> None:
    sw = new_app()
    http = PretendHttp(response)
    with_server(sw, http)

    with pytest.raises(SendError) as caught:
        await send_signal(sw, "s")

    assert message in str(caught.value)
    assert len(http.requests) == count


async def test_a_refused_signing_key_gives_way_to_the_fallback(send_signal: Callable[..., Any]) -> None:
    keys = {"signing_key": "signkey-prod-" + "ab" * 16, "signing_key_fallback": "signkey-prod-" + "cd" * 16}
    sw = new_app(is_dev=False, event_key="e", **keys)
    http = PretendHttp(httpx2.Response(401), httpx2.Response(200, json={"data": {"run_id": "01A"}}))
    with_server(sw, http)

    assert await send_signal(sw, "s") == "01A"
    sent = [request.headers["authorization"] for request in http.requests]
    assert len(set(sent)) == 2


async def test_signals_that_cannot_be_are_not_sent(send_signal: Callable[..., Any]) -> None:
    sw = new_app()

    with pytest.raises(StepUsageError, match="a signal's name has 1 to 512 characters"):
        await send_signal(sw, "")
    with pytest.raises(StepUsageError, match="the data of signal 's' can't be written as JSON"):
        await send_signal(sw, "s", object())


async def test_a_signal_between_steps_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    sw = new_app()
    with_server(sw, PretendHttp(httpx2.Response(200, json={"data": {"run_id": "01A"}})))

    @sw.function("f", on="test/event")
    async def f() -> None:
        await sw.send_signal("s")

    await PretendRun(sw, "f").end()

    assert (
        "function acme-f sends a signal between its steps, so again at each call: use step.send_signal" in caplog.text
    )
