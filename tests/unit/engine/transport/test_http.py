"""Calls over HTTP: whatever goes wrong is a reply, since a call that raises would leave its run without anybody."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from importlib.metadata import version

import msgspec
import pytest

from stepwell.engine.core.model import ErrorReply, Exchange, OpsReply, ResultReply
from stepwell.engine.transport import EndpointRequest, OutgoingCall
from stepwell.engine.transport import http as transport_module
from stepwell.engine.transport.http import HttpTransport
from stepwell.limits import REPLY_BYTES_MAX
from stepwell.protocol.signature import verify
from tests.unit.engine.transport.peers import (
    Request,
    response,
    says,
    says_and_closes,
    says_nothing,
    serving,
)

KEY = "signkey-test-" + "ab" * 32


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport()
    await transport.start()
    yield transport
    await transport.stop()


def call_to(url: str, *, step_id: str = "step", run_id: str = "run", body: bytes = b"{}") -> OutgoingCall:
    return OutgoingCall(
        url=url,
        step_id=step_id,
        run_id=run_id,
        request_id="request",
        request_version=-1,
        body=body,
        trace="traceparent: 00-trace-span-01\r\n",
    )


async def failure(transport: HttpTransport, call: OutgoingCall) -> ErrorReply:
    reply = await transport.call(call)
    assert isinstance(reply, ErrorReply)
    return reply


# -- what is sent ---------------------------------------------------------------------------------------------------


async def test_a_call_is_the_request_of_the_protocol(transport: HttpTransport) -> None:
    async with serving(says(response())) as peer:
        reply = await transport.call(call_to(peer.url("/api?fnId=shop-f&stepId=step"), step_id="86f7", body=b'{"a":1}'))

        request = peer.requests[0]
    assert reply == OpsReply(ops=[], request_version=0, exchange=Exchange(206, len(b'{"a":1}'), 2))
    assert request.line == "POST /api?fnId=shop-f&stepId=86f7 HTTP/1.1"
    assert request.fields == {
        "Host": f"127.0.0.1:{peer.port}",
        "Content-Type": "application/json",
        "User-Agent": "Inngest",
        "X-Stepwell-Version": version("stepwell"),
        "traceparent": "00-trace-span-01",
        "X-Inngest-Req-Version": "-1",
        "X-Run-ID": "run",
        "X-Request-ID": "request",
        "X-Inngest-Step-ID": "86f7",
        "Content-Length": "7",
    }
    assert request.body == b'{"a":1}'


ENDPOINT = EndpointRequest(method="PUT", content_type="application/json", is_plan_forced=True)


@pytest.mark.parametrize(
    ("key", "method", "body", "signed"),
    [
        (KEY, "PUT", b'{ "b": 1.0, "a": 2 }', b'{"a":2,"b":1}'),  # as an SDK writes what it has parsed
        (KEY, "POST", b'"x"', b"x"),
        (KEY, "POST", b"a=1", b"a=1"),
        (KEY, "POST", b"", b""),
        (KEY, "DELETE", b'{"a":1}', b""),
        (None, "GET", b"", b""),
    ],
)
async def test_an_endpoint_is_called_as_it_was(key: str | None, method: str, body: bytes, signed: bytes) -> None:
    transport = HttpTransport(signing_key=key)
    await transport.start()
    async with serving(says(response())) as peer:
        call = call_to(peer.url("/orders?a=1&stepId=x"), step_id="86f7", body=body)
        await transport.call(call._replace(endpoint=ENDPOINT._replace(method=method), request_version=2))

        request = peer.requests[0]
    await transport.stop()
    signature = request.fields.pop("X-Inngest-Signature")
    request.fields.pop("Content-Length", None)
    assert (request.line, request.body) == (f"{method} /orders?a=1&stepId=x HTTP/1.1", body)
    assert request.fields == {
        "Host": f"127.0.0.1:{peer.port}",
        "Content-Type": "application/json",
        "User-Agent": "Inngest",
        "traceparent": "00-trace-span-01",
        "X-Inngest-Req-Version": "2",
        "X-Run-ID": "run",
        "X-Request-ID": "request",
        "X-Inngest-Step-ID": "86f7",
        "X-Inngest-Force-Step-Plan": "true",
    }
    # An SDK knows the server by its signature, even where nobody checks that.
    assert key is None or verify([key], signed, signature, int(time.time())) == key


async def test_nothing_in_an_endpoints_request_adds_a_line(transport: HttpTransport) -> None:
    async with serving(says(response())) as peer:
        evil = ENDPOINT._replace(content_type="a\r\nX-Evil: 1")
        reply = await failure(transport, call_to(peer.url())._replace(endpoint=evil))

        assert (reply.code, peer.requests) == ("http_unreachable", [])


async def test_a_call_is_signed_if_there_is_a_key() -> None:
    transport = HttpTransport(signing_key=KEY)
    await transport.start()
    async with serving(says(response())) as peer:
        await transport.call(call_to(peer.url()))

        request = peer.requests[0]
    await transport.stop()
    assert verify([KEY], request.body, request.fields["X-Inngest-Signature"], int(time.time())) == KEY


async def test_a_redirected_call_is_the_same_call(transport: HttpTransport) -> None:
    async with serving(says(response(b"1", status="200 OK"))) as there:
        moved = response(b"", f"Location: {there.url('/new?fnId=f&stepId=86f7')}", status="308 Moved")
        async with serving(says(moved)) as here:
            reply = await transport.call(call_to(here.url("/old?fnId=f"), step_id="86f7"))

            sent, repeated = here.requests[0], there.requests[0]
    assert reply.exchange is not None
    assert msgspec.structs.replace(reply, exchange=None) == ResultReply(b"1")
    assert repeated.line == "POST /new?fnId=f&stepId=86f7 HTTP/1.1"
    assert repeated.body == sent.body
    assert repeated.fields == sent.fields | {"Host": f"127.0.0.1:{there.port}"}


@pytest.mark.parametrize("evil", ["a\r\nX-Evil: 1", "a\n\nb", "a\x00", "\ud800"])
async def test_no_id_adds_a_line_to_a_call(transport: HttpTransport, evil: str) -> None:
    async with serving(says(response())) as peer:
        by_step = await failure(transport, call_to(peer.url(), step_id=evil))
        by_run = await failure(transport, call_to(peer.url(), run_id=evil))

        assert (by_step.code, by_run.code) == ("http_unreachable", "http_unreachable")
        assert peer.requests == []


async def test_ids_of_any_letters_are_sent(transport: HttpTransport) -> None:
    async with serving(says(response())) as peer:
        await transport.call(call_to(peer.url(), step_id="ä b"))

        assert peer.requests[0].line == "POST /api?stepId=%C3%A4+b HTTP/1.1"
        assert peer.requests[0].fields["X-Inngest-Step-ID"] == "ä b"


async def test_calls_share_connections(transport: HttpTransport) -> None:
    async with serving(says(response())) as peer:
        for step_id in ("step", "86f7", "step"):
            await transport.call(call_to(peer.url(), step_id=step_id))

        assert peer.connection_count == 1


# -- what comes back ------------------------------------------------------------------------------------------------


async def test_a_large_answer_is_read_on_a_thread(transport: HttpTransport) -> None:
    result = json.dumps("x" * 1_000_000).encode()
    async with serving(says(response(result, status="200 OK"))) as peer:
        reply = await transport.call(call_to(peer.url()))

    assert reply == ResultReply(result, Exchange(200, len(call_to("").body), len(result)))


async def test_a_streamed_answer_is_read_whole(transport: HttpTransport) -> None:
    envelope = json.dumps({"status": 206, "headers": {"x-inngest-req-version": "2"}, "body": "[]"}).encode()

    async def stream(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 201 Created\r\nX-Inngest-SDK: js:v4\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b" ", b"\n", envelope[:9], envelope[9:]):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with serving(stream) as peer:
        reply = await transport.call(call_to(peer.url()))

    assert isinstance(reply, OpsReply)
    assert (reply.ops, reply.request_version) == ([], 2)
    assert reply.exchange is not None
    assert reply.exchange.status == 201


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/api",
        "http://localhost:99999/api",
        "http://localhost:x/",
        "",
        "/api",
        "mailto:a@b",
        "ws://localhost/",
    ],
)
async def test_a_url_that_cannot_be_called_is_an_error_of_the_attempt(transport: HttpTransport, url: str) -> None:
    reply = await failure(transport, call_to(url))

    assert reply.code == "http_unreachable"


async def test_a_refused_connection_asks_whether_the_app_is_running(transport: HttpTransport) -> None:
    async with serving(says(response())) as peer:
        url = peer.url()

    reply = await failure(transport, call_to(url + "?fnId=f"))

    assert (reply.code, reply.no_retry) == ("http_unreachable", None)
    assert reply.error.message == f"Unable to reach SDK URL {url}: connection refused: is the app running?"


async def test_an_unknown_name_is_said(transport: HttpTransport) -> None:
    reply = await failure(transport, call_to("http://user:secret@nobody.invalid/api"))

    assert reply.error.message == "Unable to reach SDK URL http://nobody.invalid/api: its host name isn't known"


async def test_a_connection_that_closes_without_an_answer_is_said(transport: HttpTransport) -> None:
    async with serving(says_and_closes(b"")) as peer:
        reply = await failure(transport, call_to(peer.url()))

    assert reply.code == "http_unreachable"
    assert reply.error.message.endswith("it closed the connection before it answered")


async def test_a_connection_that_closes_in_an_answer_is_said(transport: HttpTransport) -> None:
    async with serving(says_and_closes(response(b"[]")[:-1])) as peer:
        reply = await failure(transport, call_to(peer.url()))

    assert reply.code == "http_unreachable"
    assert reply.error.message.endswith("it closed the connection in the middle of its answer")


async def test_an_answer_that_is_not_http_is_said(transport: HttpTransport) -> None:
    async with serving(says(b"220 mail.example ESMTP\r\n")) as peer:
        reply = await failure(transport, call_to(peer.url()))

    assert (reply.code, reply.no_retry) == ("invalid_reply", None)
    assert f"{peer.url()} can't be understood: what it answers isn't HTTP" in reply.error.message


async def test_an_untrusted_certificate_is_said(transport: HttpTransport) -> None:
    async with serving(says(response()), tls=True, host="localhost") as peer:
        reply = await failure(transport, call_to(peer.url(host="localhost", scheme="https")))

    assert reply.code == "http_unreachable"
    assert "its certificate isn't trusted: unable to get local issuer certificate" in reply.error.message


async def test_an_answer_over_the_limit_is_not_tried_again(transport: HttpTransport) -> None:
    async with serving(says(response(b"x" * (REPLY_BYTES_MAX + 1)))) as peer:
        reply = await failure(transport, call_to(peer.url()))

    assert (reply.code, reply.no_retry) == ("output_too_large", True)


async def test_redirects_for_ever_are_said(transport: HttpTransport) -> None:
    async with serving(says(response(b"", "Location: /", status="307 Moved"))) as peer:
        reply = await failure(transport, call_to(peer.url()))

    assert reply.code == "http_not_ok"
    assert "again and again" in reply.error.message


async def test_a_redirect_that_may_change_the_method_is_not_followed(transport: HttpTransport) -> None:
    async with serving(says(b"HTTP/1.1 301 Moved\r\nLocation: https://a/b\r\nContent-Length: 0\r\n\r\n")) as peer:
        reply = await failure(transport, call_to(peer.url()))

    assert reply.code == "http_not_ok"
    assert "redirects (301) to https://a/b" in reply.error.message


async def test_a_call_without_an_answer_ends(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "CALL_TIMEOUT_MS", 10)
    async with serving(says_nothing) as peer:
        reply = await failure(transport, call_to(peer.url()))

        assert reply.code == "request_duration_too_long"
        await peer.closed()


async def test_a_connection_that_does_not_come_about_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "CALL_CONNECT_TIMEOUT_MS", 50)
    transport = HttpTransport()
    await transport.start()
    async with serving(says_nothing) as peer:
        reply = await failure(transport, call_to(peer.url(scheme="https")))
        await transport.stop()
        await peer.closed()  # a loop that ends with a handshake under way complains

    assert reply.code == "http_unreachable"
    assert "could not be reached within" in reply.error.message


async def test_a_cancelled_call_closes_its_connection(transport: HttpTransport) -> None:
    async with serving(says_nothing) as peer:
        calling = asyncio.ensure_future(transport.call(call_to(peer.url())))
        await peer.asked.wait()
        calling.cancel()

        with pytest.raises(asyncio.CancelledError):
            await calling
        await peer.closed()


async def test_calls_under_way_are_broken_off_at_the_end(transport: HttpTransport) -> None:
    async with serving(says_nothing) as peer:
        calling = asyncio.ensure_future(failure(transport, call_to(peer.url())))
        await peer.asked.wait()

        await transport.stop()

        assert (await calling).code == "http_unreachable"
        await peer.closed()
