"""What an app must do in every framework, in the released framework itself."""

from __future__ import annotations

import asyncio
from typing import Any

import flask
import httpx2
import msgspec
import pytest

from stepwell import Event, Step, Stepwell, SyncStep
from stepwell.protocol.signature import sign, verify
from stepwell.protocol.sync import FunctionConfig, read_sync
from stepwell.sdk import http
from stepwell.sdk.client import Client
from stepwell.sdk.handler import Handler
from stepwell.sdk.http import Request, Response
from stepwell.sdk.serve import asgi, wsgi
from stepwell.sdk.serve import django as django_adapter
from tests.frameworks.frameworks import FRAMEWORKS, PATH, Framework, Respond, flask_view
from tests.unit.sdk.pretend import PretendHttp, PretendRun, new_app

ORIGIN = "http://app.test:8000"
KEY = "signkey-prod-12345678"
NOW_S = 1_700_000_000


@pytest.fixture(params=FRAMEWORKS, ids=[framework.name for framework in FRAMEWORKS])
def framework(request: pytest.FixtureRequest) -> Framework:
    return request.param


def app(**settings: Any) -> Stepwell:
    sw = new_app(**settings)
    sw.handler = Handler(sw, now_s=lambda: float(NOW_S))

    @sw.function("async", on="test/event")
    async def async_function(event: Event, step: Step) -> Any:
        a, b = await asyncio.gather(step.run("a", lambda: "ü"), step.run("b", asyncio.sleep, 0, "b"))
        await step.sleep("nap", "1d")
        return [event.name, a, b]

    @sw.function("sync", on="test/event")
    def sync_function(event: Event, step: SyncStep) -> Any:
        a, b = step.parallel([lambda: step.run("a", lambda: "ü"), lambda: step.run("b", lambda: "b")])
        step.sleep("nap", "1d")
        return [event.name, a, b]

    return sw


async def ask(
    respond: Respond, framework: Framework, method: str, query: str = "", body: bytes = b"", **headers: str
) -> Response:
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    return await respond(Request(method, f"{ORIGIN}{framework.path}{query}", found, body, ""))


@pytest.mark.parametrize("function_id", ["async", "sync"])
async def test_a_run_comes_to_its_end(framework: Framework, function_id: str) -> None:
    sw = app()
    respond = framework.build(sw)

    async def call(request: Request) -> Response:
        query = request.url.partition("?")[2]
        found = await ask(respond, framework, request.method, f"?{query}", request.body or b"")
        names = {"x-inngest-no-retry": "X-Inngest-No-Retry"}
        return Response(found.status, {names.get(k, k): v for k, v in found.headers.items()}, found.body)

    run = PretendRun(sw, function_id, respond=call)

    answer = await run.end()

    assert answer.body == ["test/event", "ü", "b"]
    assert [len(answer.ops) for answer in run.answers] == [2, 1, 1, 1, 0]


async def test_the_app_says_what_it_is(framework: Framework) -> None:
    response = await ask(framework.build(app()), framework, "GET")

    assert response.status == 200
    assert msgspec.json.decode(response.body)["function_count"] == 2
    assert response.headers["x-inngest-sdk"] == "stepwell-py:v0.1.0"
    assert response.headers["x-inngest-framework"] == framework.wire_name
    assert response.headers["content-type"] == "application/json"


async def test_the_app_registers_the_url_under_which_it_was_called(framework: Framework) -> None:
    server = PretendHttp(httpx2.Response(200, json={"ok": True, "modified": True}))
    sw = app()
    sw.client = Client(sw.settings, transport=httpx2.MockTransport(server))

    response = await ask(framework.build(sw), framework, "PUT", "?deployId=d1", x_inngest_server_kind="dev")
    await sw.aclose()

    assert (response.status, msgspec.json.decode(response.body)) == (200, {"ok": True, "modified": True})
    assert server.requests[0].url.query == b"deployId=d1"
    sync = read_sync(server.requests[0].content)
    assert (sync.url, sync.framework) == (ORIGIN + framework.path, framework.wire_name)
    config = msgspec.json.decode(bytes(sync.functions[0]), type=FunctionConfig)
    assert config.url == f"{ORIGIN}{framework.path}?fnId=acme-async&stepId=step"


async def test_in_production_calls_and_answers_are_signed_over_the_bytes_as_sent(framework: Framework) -> None:
    sw = app(is_dev=False, signing_key=KEY)
    respond = framework.build(sw)
    body = PretendRun(sw, "async", event={"name": "ü/event", "id": "1", "ts": 1, "data": {}}).body()
    query = "?fnId=acme-async&stepId=step"

    response = await ask(respond, framework, "POST", query, body, x_inngest_signature=sign(KEY, body, NOW_S))
    unsigned = await ask(respond, framework, "POST", query, body)

    assert response.status == 206
    assert verify([KEY], response.body, response.headers["x-inngest-signature"], NOW_S) == KEY
    assert unsigned.status == 401
    assert "x-inngest-sdk" not in unsigned.headers


async def test_a_body_over_the_limit_is_refused(framework: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (http, asgi, wsgi, django_adapter):
        monkeypatch.setattr(module, "CALL_BODY_BYTES_MAX", 1_000)
    respond = framework.build(app())

    over = await ask(respond, framework, "POST", "?probe=trust", b"x" * 1_001)
    within = await ask(respond, framework, "POST", "?probe=trust", b"x" * 1_000)

    assert (over.status, msgspec.json.decode(over.body)["code"]) == (413, "body_too_large")
    assert within.status == 200


async def test_a_malformed_call_is_refused(framework: Framework) -> None:
    response = await ask(framework.build(app()), framework, "POST", "?fnId=acme-async&stepId=step", b"{")

    assert (response.status, msgspec.json.decode(response.body)["code"]) == (400, "invalid_body")


async def test_plain_handlers_and_their_steps_have_flasks_context() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    def f(step: SyncStep) -> Any:
        return [flask.current_app.name, step.run("a", lambda: flask.current_app.name)]

    respond = flask_view(sw)

    async def call(request: Request) -> Response:
        return await respond(Request("POST", f"{ORIGIN}{PATH}?{request.url.partition('?')[2]}", {}, request.body, ""))

    assert (await PretendRun(sw, "f", respond=call).end()).body == ["app", "app"]


async def test_an_asgi_app_of_its_own_has_a_lifespan_and_refuses_websockets() -> None:
    sent: list[str] = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await new_app().asgi()({"type": "lifespan"}, receive, send)
    await new_app().asgi()({"type": "websocket"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


async def test_a_caller_that_goes_away_before_its_body_is_read_gets_no_answer() -> None:
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await new_app().asgi()({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)

    assert not sent


async def test_the_url_of_a_request_without_a_host_is_that_of_the_server() -> None:
    server = PretendHttp(httpx2.Response(200, json={}))
    sw = new_app()
    sw.client = Client(sw.settings, transport=httpx2.MockTransport(server))

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "PUT", "path": "/x", "root_path": "/api", "headers": [], "server": ("h", 81)}
    await sw.asgi()(scope, receive, send)
    await sw.aclose()

    assert read_sync(server.requests[0].content).url == "http://h:81/api/x"
