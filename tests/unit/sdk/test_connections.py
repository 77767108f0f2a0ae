"""The connections for checkpoints, against a server that answers byte by byte as the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from stepwell.sdk import connections
from stepwell.sdk.connections import Answer, AsyncConnections, Exchange, SyncConnections, has_proxy
from stepwell.sdk.threads import in_thread

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Server:
    """Answers each request with the next of ``answers``, the last again and again; notes what it was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connection_count = 0
        self.closes_after = 1_000
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for _ in range(self.closes_after):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                writer.write(answer)
                await writer.drain()
                if not answer or b"close" in answer:
                    break
        writer.close()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncGenerator[str]:
    """Serve connections, and end them all in the end; yields the URL."""
    writers: list[asyncio.StreamWriter] = []

    async def noting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(noting, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x?y=1"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(*answers: bytes) -> AsyncGenerator[Server]:
    server = Server(*answers)
    async with listening(server.serve) as server.url:
        yield server


Send = Callable[..., Awaitable[Answer]]


@pytest.fixture(params=["async", "sync"])
async def send(request: pytest.FixtureRequest) -> AsyncGenerator[Send]:
    """Send by connections that are closed in the end; blocking ones from a thread."""
    kept = AsyncConnections() if request.param == "async" else SyncConnections()

    async def send(url: str, body: bytes = b"body", *, timeout_s: float = 10.0) -> Answer:
        exchange = Exchange("POST", url, {"X-One": "1"}, body, timeout_s, timeout_s)
        if isinstance(kept, AsyncConnections):
            return await kept.send(exchange)
        return await in_thread(kept.send, exchange)

    yield send
    if isinstance(kept, AsyncConnections):
        await kept.aclose()
    else:
        kept.close()


async def test_a_connection_is_kept_and_carries_one_request_after_the_other(send: Send) -> None:
    async with serving(OK) as server:
        answers = [await send(server.url, body) for body in (b"one", b"", b"x" * 1_000_000)]

    assert answers == [Answer(200, b"{}")] * 3
    assert server.connection_count == 1
    host = server.url.split("/")[2]
    assert server.requests[0] == (
        f"POST /v1/x?y=1 HTTP/1.1\r\nHost: {host}\r\nX-One: 1\r\nContent-Length: 3\r\n\r\none".encode()
    )
    assert server.requests[2].endswith(b"\r\n\r\n" + b"x" * 1_000_000)


async def test_requests_at_the_same_time_have_connections_of_their_own(send: Send) -> None:
    async with serving(OK) as server:
        answers = await asyncio.gather(*(send(server.url, b"%d" % number) for number in range(5)))

    assert [answer.status for answer in answers] == [200] * 5
    assert sorted(request[-1:] for request in server.requests) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Answer(200, b"{}")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n", Answer(409, b"")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, b"")),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbad", Answer(500, b"bad")),
        (b"HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nuntil the end", Answer(200, b"until the end")),
    ],
)
async def test_answers_of_all_forms_are_read(response: bytes, answer: Answer, send: Send) -> None:
    async with serving(response) as server:
        assert await send(server.url) == answer
        assert await send(server.url) == answer


@pytest.mark.parametrize(
    "response",
    [
        b"",  # the connection ends
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nshort",
        b"SSH-2.0-OpenSSH close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"x" * (connections.ANSWER_BYTES_MAX + 1),
    ],
)
async def test_what_is_no_answer_has_status_0_and_says_why(response: bytes, send: Send) -> None:
    async with serving(response) as server:
        answer = await send(server.url)

    assert answer.status == 0
    assert answer.body


async def test_a_connection_that_the_server_closed_is_not_used_again(send: Send) -> None:
    async with serving(OK) as server:
        server.closes_after = 1
        answers = [await send(server.url) for _ in range(3)]

    # Whether the end was seen before the next request is chance; then that request is tried again by who makes it.
    assert answers[0].status == 200
    assert {answer.status for answer in answers} <= {0, 200}


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "KEPT_S", 0.0)
    async with serving(OK) as server:
        await send(server.url)
        await send(server.url)

    assert server.connection_count == 2


async def test_a_server_that_is_not_there_has_status_0(send: Send) -> None:
    async with serving(OK) as server:
        pass

    answer = await send(server.url)

    assert answer.status == 0
    assert b"onnect" in answer.body


async def test_a_server_that_says_nothing_has_status_0_in_time(send: Send) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with listening(silent) as url:
        answer = await send(url, timeout_s=0.05)

    assert answer.status == 0
    assert answer.body


async def test_a_request_that_is_broken_off_leaves_no_connection_behind() -> None:
    arrived = asyncio.Event()
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        ended.set()
        writer.close()

    kept = AsyncConnections()
    async with listening(silent) as url, asyncio.timeout(10):
        task = asyncio.create_task(kept.send(Exchange("POST", url, {}, b"", 10.0, 10.0)))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended.wait()


@pytest.mark.parametrize(
    ("environment", "is_proxied"),
    [
        ({}, False),
        ({"http_proxy": "http://proxy:3128"}, True),
        ({"https_proxy": "http://proxy:3128"}, False),
        ({"all_proxy": "socks5://proxy:1080"}, True),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "server.test"}, False),
    ],
)
def test_a_proxy_of_the_environment_is_seen(
    environment: dict[str, str], is_proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert has_proxy("http://server.test:8288/v1") is is_proxied


def test_the_address_of_a_url_has_its_port() -> None:
    found: list[Any] = [connections.address_of(url) for url in ("http://a", "https://a/x", "http://[::1]:8288/x")]

    assert found == [("a", 80, False), ("a", 443, True), ("::1", 8288, False)]
