"""Sending events: what goes out, what is tried again, and what each refusal says."""

from __future__ import annotations

import datetime
import http.server
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import httpx2
import msgspec
import pytest

from stepwell import ConfigError, Event, EventError, SendError, Step, Stepwell, SyncStep
from stepwell.protocol.ids import parse_event_id_seed
from stepwell.sdk.client import Client
from tests.unit.sdk.pretend import PretendHttp, PretendRun, new_app

OK = {"ids": ["01A"], "status": 200}


def sending(ingest: PretendHttp, **settings: Any) -> Stepwell:
    sw = new_app(**settings)
    sw.client = Client(sw.settings, transport=httpx2.MockTransport(ingest), now_ms=lambda: 1_000, backoff_s=0)
    return sw


@pytest.fixture(params=[False, True], ids=["async", "sync"])
def send(request: pytest.FixtureRequest) -> Callable[..., Any]:
    async def send(sw: Stepwell, *args: Any, **kwargs: Any) -> list[str]:
        if request.param:
            ids = sw.send_sync(*args, **kwargs)
            sw.close()
        else:
            ids = await sw.send(*args, **kwargs)
            await sw.aclose()
        return ids

    return send


async def test_an_event_is_sent_by_its_name_and_parts(send: Callable[..., Any]) -> None:
    ingest = PretendHttp(httpx2.Response(200, json=OK))
    sw = sending(ingest, event_key="evt", env="branch-a")
    at = datetime.datetime(2030, 1, 31, 9, tzinfo=datetime.UTC)

    ids = await send(sw, "user.signedup", {"userId": 42}, id="once", ts=at, user={"name": "Ann"})

    assert ids == ["01A"]
    assert msgspec.json.decode(ingest.requests[0].content) == [
        {
            "name": "user.signedup",
            "data": {"userId": 42},
            "id": "once",
            "ts": 1_896_080_400_000,
            "user": {"name": "Ann"},
        }
    ]
    sent = ingest.requests[0]
    assert str(sent.url) == "http://server.test:8288/e/evt"
    assert sent.headers["x-inngest-sdk"] == "stepwell-py:v0.1.0"
    assert sent.headers["x-inngest-env"] == "branch-a"
    seed = parse_event_id_seed(sent.headers["x-inngest-event-id-seed"])
    assert seed is not None
    assert seed[0] == 1_000


async def test_many_events_go_in_one_request(send: Callable[..., Any]) -> None:
    ingest = PretendHttp(httpx2.Response(200, json={"ids": ["01A", "01B"], "status": 200}))

    ids = await send(sending(ingest), [Event("a", {"n": 1}, ts=5), {"name": "b", "v": "2"}])

    assert ids == ["01A", "01B"]
    assert msgspec.json.decode(ingest.requests[0].content) == [
        {"name": "a", "data": {"n": 1}, "ts": 5},
        {"name": "b", "data": {}, "v": "2"},
    ]
    assert str(ingest.requests[0].url).endswith("/e/NO_EVENT_KEY_SET")


async def test_no_events_are_no_request(send: Callable[..., Any]) -> None:
    ingest = PretendHttp(httpx2.Response(500))

    assert await send(sending(ingest), []) == []
    assert not ingest.requests


@pytest.mark.parametrize("answer", [httpx2.Response(503), httpx2.ConnectError("refused"), httpx2.ReadTimeout("slow")])
async def test_a_failed_send_is_repeated_with_the_same_seed(
    answer: httpx2.Response | Exception, send: Callable[..., Any]
) -> None:
    ingest = PretendHttp(answer, answer, answer, answer, httpx2.Response(200, json=OK))

    assert await send(sending(ingest), "a") == ["01A"]

    assert len(ingest.requests) == 5
    assert len({sent.headers["x-inngest-event-id-seed"] for sent in ingest.requests}) == 1
    assert len({sent.content for sent in ingest.requests}) == 1


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (httpx2.Response(503, text="busy"), 503, "HTTP 503: busy"),
        (httpx2.ConnectError("refused"), None, "can't be reached (refused); start it (stepwell dev)"),
        (httpx2.ReadTimeout(""), None, "can't be reached (ReadTimeout)"),
    ],
)
async def test_a_send_gives_up_after_five_attempts(
    answer: httpx2.Response | Exception, status: int | None, message: str, send: Callable[..., Any]
) -> None:
    ingest = PretendHttp(answer)

    with pytest.raises(SendError) as caught:
        await send(sending(ingest), "a")

    assert len(ingest.requests) == 5
    assert caught.value.status == status
    assert message in str(caught.value)
    assert "http://server.test:8288" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx2.Response(400, json={"ids": [""], "status": 400, "error": "bad name"}), "HTTP 400: bad name"),
        (httpx2.Response(400, json={"error": {"code": "x", "message": "bad name"}}), "HTTP 400: bad name"),
        (httpx2.Response(401, json={"error": "Event key not found"}), "set STEPWELL_EVENT_KEY"),
        (httpx2.Response(307, text="elsewhere"), "HTTP 307: elsewhere"),
        (httpx2.Response(200, text="<html>"), "without ids: <html>; is it Stepwell's URL?"),
    ],
)
async def test_a_refusal_is_final(answer: httpx2.Response, message: str, send: Callable[..., Any]) -> None:
    ingest = PretendHttp(answer)

    with pytest.raises(SendError) as caught:
        await send(sending(ingest), "a")

    assert len(ingest.requests) == 1
    assert caught.value.status == answer.status_code
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (("",), {}, "has 1 to 512 characters"),
        (("x" * 513,), {}, "has 1 to 512 characters"),
        (("Inngest/mine",), {}, "are reserved"),
        (("a", {"x": object()}), {}, "can't be written as JSON"),
        (("a", {"x": "y" * 3 * 1024 * 1024}), {}, "the limit is 3145728"),
        ((Event("a"),), {"id": "x"}, "go with an event's name"),
        (([{"data": {}}],), {}, "event 0 of the list"),
        (([{"name": 5}],), {}, "event 0 of the list"),
        (("a",), {"ts": datetime.datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001
        (([Event("a")] * 5_001,), {}, "more than the 5000 of one send"),
    ],
)
async def test_an_event_that_would_be_refused_is_not_sent(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str, send: Callable[..., Any]
) -> None:
    ingest = PretendHttp(httpx2.Response(200, json=OK))

    with pytest.raises(EventError) as caught:
        await send(sending(ingest), *args, **kwargs)

    assert message in str(caught.value)
    assert not ingest.requests


async def test_without_a_server_or_a_key_the_error_says_what_to_set(send: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"production mode \(the default\), so set STEPWELL_URL"):
        await send(new_app(is_dev=False, url=None, event_key="evt"), "a")
    with pytest.raises(ConfigError, match="set STEPWELL_EVENT_KEY"):
        await send(new_app(is_dev=False), "a")


async def test_a_closed_app_can_send_again(send: Callable[..., Any]) -> None:
    sw = sending(PretendHttp(httpx2.Response(200, json=OK)))

    assert await send(sw, "a") == ["01A"]
    assert await send(sw, "a") == ["01A"]


def test_closing_an_app_that_never_sent_does_nothing() -> None:
    new_app().close()


async def test_a_step_sends_with_ids_that_all_its_attempts_share() -> None:
    ingest = PretendHttp(httpx2.Response(200, json={"ids": ["01A", "01B"], "status": 200}))
    sw = sending(ingest)

    @sw.function("async", on="a")
    async def sends(step: Step) -> Any:
        return await step.send("tell", [Event("b"), Event("c", id="mine")])

    @sw.function("sync", on="a")
    def sends_sync(step: SyncStep) -> Any:
        return step.send("tell", "b", {"n": 1})

    answers = [await PretendRun(sw, name).call(attempt=attempt) for name in ("async", "sync") for attempt in (0, 1)]
    sent = [msgspec.json.decode(request.content) for request in ingest.requests]
    await sw.aclose()

    assert answers[0].ops[0].opts == {"type": "step.sendEvent"}
    assert bytes(answers[0].ops[0].data) == b'["01A","01B"]'
    assert [event["name"] for event in sent[0]] == ["b", "c"]
    assert sent[0] == sent[1]
    assert sent[0][0]["id"].endswith("-0")
    assert sent[0][1]["id"] == "mine"
    assert sent[2] == sent[3] == [{"name": "b", "data": {"n": 1}, "id": sent[2][0]["id"]}]


async def test_sending_between_steps_is_warned_about_and_in_steps_is_not(caplog: pytest.LogCaptureFixture) -> None:
    sw = sending(PretendHttp(httpx2.Response(200, json=OK)))

    @sw.function("async", on="a")
    async def sends(step: Step) -> None:
        await step.run("tell", sw.send, "b")
        await step.run("tell-sync", sw.send_sync, "b")
        await sw.send("b")

    @sw.function("sync", on="a")
    def sends_sync() -> None:
        sw.send_sync("b")

    await sw.send("b")
    for name in ("async", "sync"):
        await PretendRun(sw, name).end()
    await sw.aclose()

    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        f"function acme-{name} sends an event between its steps, so again at each call: use step.send"
        for name in ("async", "sync")
    ]


class Counting(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    callers: ClassVar[list[tuple[str, int]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.callers.append(self.client_address)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


def test_a_forked_process_has_connections_of_its_own() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Counting.callers = []
    client = Client(new_app(url=f"http://127.0.0.1:{server.server_port}").settings)
    [request] = client.api_requests("POST", "/v1/x", body=b"{}")
    try:
        for fetch in (client.fetch_fast_sync, client.fetch_sync):
            assert fetch(request).status == 200
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            ends = [client.fetch_fast_sync(request).status, client.fetch_sync(request).status]
            os._exit(0 if ends == [200, 200] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        for fetch in (client.fetch_fast_sync, client.fetch_sync):
            assert fetch(request).status == 200
    finally:
        client.close()
        server.shutdown()
        server.server_close()

    before, child, after = Counting.callers[:2], Counting.callers[2:4], Counting.callers[4:]
    assert before == after
    assert not set(before) & set(child)
