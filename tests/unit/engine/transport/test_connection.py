"""One connection, without a network: bytes in, and a response or the reason why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepwell.engine.transport.connection import Connection, Disconnected, NotHttp, Response, TooLarge
from stepwell.limits import RESPONSE_HEAD_BYTES_MAX
from tests.unit.engine.transport.peers import response

BODY_MAX = 1000


class Wire:
    """Stands in for a transport: keeps what was sent."""

    def __init__(self) -> None:
        self.sent = b""
        self.is_aborted = False
        self.unsent_bytes = 0

    def writelines(self, parts: Sequence[bytes]) -> None:
        self.sent += b"".join(parts)

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes


class Loop:
    """As much of an event loop as a future needs whose callbacks nobody sets."""

    def __init__(self) -> None:
        self.complaints: list[Any] = []

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: Any) -> None:
        self.complaints.append(context)

    def create_future(self) -> asyncio.Future[Any]:
        loop: Any = self
        return asyncio.Future(loop=loop)


class Line:
    """A connection on a pretended wire, and one request on it."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.lost: list[Connection] = []
        self.loop = Loop()
        loop: Any = self.loop
        self.connection = Connection(loop, self.lost.append, body_bytes_max=BODY_MAX)
        wire: Any = self.wire
        self.connection.connection_made(wire)

    def ask(self) -> asyncio.Future[Response]:
        return self.connection.send(b"head", b"body")

    def hear(self, *parts: bytes) -> None:
        """Receive bytes, as long as the connection is there to receive them."""
        for part in parts:
            if part and not self.wire.is_aborted:
                self.connection.data_received(part)

    def close(self, error: Exception | None = None) -> None:
        if error is None and self.connection.eof_received() is None:
            self.connection.abort()
        self.connection.connection_lost(error)


class Heard(NamedTuple):
    """What came of a request: a response, or the type and text of an error; and whether the connection lives on."""

    response: Response | None
    error: tuple[type[BaseException], str] | None
    is_open: bool


def heard(*parts: bytes, ends: bool = False) -> Heard:
    line = Line()
    answer = line.ask()
    line.hear(*parts)
    if ends:
        line.close()
    if not answer.done():
        return Heard(None, None, line.connection.is_open)
    if (error := answer.exception()) is not None:
        return Heard(None, (type(error), str(error)), line.connection.is_open)
    return Heard(answer.result(), None, line.connection.is_open)


def body_of(found: Heard) -> bytes:
    assert found.response is not None, found.error
    return found.response.body


def error_of(found: Heard, kind: type[Exception]) -> str:
    assert found.error is not None, found.response
    assert found.error[0] is kind
    assert not found.is_open
    return found.error[1]


CHUNKED = b"HTTP/1.1 206 X\r\nX-Inngest-SDK: s\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nX-Inngest-SDK: s\r\n\r\n"
WHOLE = {
    "ops": response(b'[{"id":"x"}]', "X-Inngest-Req-Version: 2", "Retry-After: 3"),
    "empty": response(b""),
    "last": response(b"last", "Connection: close"),
    "long header": response(b"two", "x-inngest-no-retry: true", "X-Other: " + "y" * 200),
    "chunks": CHUNKED + b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"3\r\nabc\r\n0\r\nRetry-After: 9\r\nX-Trailer: t\r\n\r\n",
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"after one"),
    "after 103, 102": b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\nHTTP/1.1 102 X\r\n\r\n"
    + response(b"after two"),
    "204": b"HTTP/1.1 204 No Content\r\nX-Inngest-SDK: s\r\n\r\n",
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
    "1.0 kept": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold",
    "bare LF": b"HTTP/1.1 200 OK\nX-Inngest-SDK: s\nContent-Length: 2\n\nok",
    "empty lines": b"\r\n\r\n" + response(b"after empty lines"),
    "until close": CLOSING + b"until the end",
    "empty until close": CLOSING,
}


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
@given(data=st.data())
def test_a_response_is_the_same_however_it_is_cut_into_pieces(whole: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    ends = whole.startswith(CLOSING)

    assert heard(*parts, ends=ends) == heard(whole, ends=ends)


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_a_response_is_the_same_byte_by_byte(whole: bytes) -> None:
    ends = whole.startswith(CLOSING)

    assert heard(*(bytes([byte]) for byte in whole), ends=ends) == heard(whole, ends=ends)


@given(
    st.lists(st.binary(max_size=30) | st.sampled_from([*WHOLE.values(), b"HTTP/1.1 ", b"\r\n\r\n", b"200 OK\r\n"])),
    st.booleans(),
)
@example([b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"], False)
def test_no_bytes_break_it(parts: list[bytes], ends: bool) -> None:
    found = heard(*parts, ends=ends)

    assert found.error is None or found.error[0] in (NotHttp, TooLarge, Disconnected)
    assert found.response is not None or found.error is not None or not ends


# -- what is read ---------------------------------------------------------------------------------------------------


def test_headers_have_no_case_and_those_that_nobody_reads_are_left_out() -> None:
    found = heard(response(b"", "x-INNGEST-no-retry: true", "Set-Cookie: a=b", "retry-after: 1", "Retry-After: 2"))

    assert found.response is not None
    assert found.response.headers == {
        "X-Inngest-SDK": "fake:v1",
        "X-Inngest-No-Retry": "true",
        "Retry-After": "1",
        "Content-Length": "0",
    }


def test_headers_of_interim_responses_and_trailers_are_not_those_of_the_response() -> None:
    interim = heard(b"HTTP/1.1 103 X\r\nRetry-After: 1\r\n\r\n" + response())
    trailer = heard(CHUNKED + b"1\r\na\r\n0\r\nRetry-After: 1\r\n\r\n")

    for found in (interim, trailer):
        assert found.response is not None
        assert "Retry-After" not in found.response.headers


def test_a_connection_serves_one_request_after_the_other() -> None:
    line = Line()
    for name in ("ops", "chunks", "after 100", "204", "ops"):
        whole = WHOLE[name]
        answer = line.ask()
        line.hear(whole)
        assert answer.result() == heard(whole).response

    assert line.connection.is_open
    assert line.wire.sent == b"headbody" * 5


@pytest.mark.parametrize(
    ("whole", "is_open"),
    [
        (response(), True),
        (response(b"", "Connection: close"), False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_if_the_app_keeps_it(whole: bytes, is_open: bool) -> None:
    assert heard(whole).is_open is is_open


@pytest.mark.parametrize("extra", [b"H", b"HTTP/1.1 200", response(), b"garbage", b"\x00"])
@pytest.mark.parametrize("is_apart", [True, False])
def test_what_follows_a_response_is_not_taken_for_the_next(extra: bytes, is_apart: bool) -> None:
    whole = response(b"mine")

    found = heard(whole, extra) if is_apart else heard(whole + extra)

    assert body_of(found) == b"mine"
    assert not found.is_open


def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    line = Line()
    line.hear(response())

    assert not line.connection.is_open
    assert line.wire.is_aborted


def test_a_response_before_the_whole_request_was_sent_is_the_last() -> None:
    line = Line()
    answer = line.ask()
    line.wire.unsent_bytes = 1
    line.hear(response(status="413 Too Large"))

    assert answer.result().status == 413
    assert not line.connection.is_open


# -- what is no response --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x16\x03\x01\x00",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 101 X\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nmore",
        CHUNKED + b"x\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"fffffffffffffffffffff\r\n",
        CHUNKED + b"1\r\nab\r\n",
    ],
)
def test_what_is_not_http_is_said(data: bytes) -> None:
    assert error_of(heard(data), NotHttp)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "it closed the connection before it answered"),
        (b"HTTP", "it closed the connection in the middle of its answer"),
        (response()[:20], "it closed the connection in the middle of its answer"),
        (response(b"abc")[:-1], "it closed the connection in the middle of its answer"),
        (CHUNKED + b"3\r\nabc\r\n", "it closed the connection in the middle of its answer"),
        (CHUNKED + b"3\r\nabc\r\n0\r\n", "it closed the connection in the middle of its answer"),
    ],
)
def test_half_a_response_is_none(data: bytes, text: str) -> None:
    assert error_of(heard(data, ends=True), Disconnected) == text


def test_a_body_up_to_the_end_needs_a_clean_end() -> None:
    line = Line()
    answer = line.ask()
    line.hear(CLOSING + b"half")
    line.close(ConnectionResetError())

    assert isinstance(answer.exception(), Disconnected)


# -- limits ---------------------------------------------------------------------------------------------------------


def sized(count: int, form: str) -> Heard:
    body = b"x" * count
    if form == "length":
        return heard(response(body))
    if form == "chunks":
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:700], body[700:]))
        return heard(CHUNKED + chunks + b"0\r\n\r\n")
    return heard(CLOSING + body, ends=True)


@pytest.mark.parametrize("form", ["length", "chunks", "close"])
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(form: str) -> None:
    assert len(body_of(sized(BODY_MAX, form))) == BODY_MAX
    error_of(sized(BODY_MAX + 1, form), TooLarge)


def test_a_length_over_the_limit_is_refused_before_the_body() -> None:
    error_of(heard(response(b"x" * (BODY_MAX + 1))[: -BODY_MAX - 1]), TooLarge)


def test_a_chunk_over_the_limit_is_not_awaited() -> None:
    error_of(heard(CHUNKED + b"ffffffff\r\n" + b"x" * (BODY_MAX + 1)), TooLarge)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Header: ", b"xxxxxxxxxxxxxxxx"),
        (b"HTTP/1.1 200 ", b"xxxxxxxxxxxxxxxx"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"1;", b"xxxxxxxxxxxxxxxx"),
        (CHUNKED + b"1\r\na\r\n0\r\n", b"X-Trailer: value\r\n"),
    ],
)
def test_whatever_else_is_endless_is_cut_off(start: bytes, more: bytes) -> None:
    line = Line()
    answer = line.ask()
    line.hear(start)
    fed = 0
    while not answer.done():
        line.hear(more * 100)
        fed += len(more) * 100
        assert fed < 2 * RESPONSE_HEAD_BYTES_MAX

    assert isinstance(answer.exception(), NotHttp)
    assert fed > RESPONSE_HEAD_BYTES_MAX - 2 * len(start)


def test_headers_up_to_the_limit_are_read() -> None:
    head = response(b"x", "X-Long: ", "X-Longer: ")
    padding = b"y" * (RESPONSE_HEAD_BYTES_MAX - len(head) - 10)
    whole = head.replace(b"X-Long: ", b"X-Long: " + padding)

    assert body_of(heard(*(whole[at : at + 1000] for at in range(0, len(whole), 1000)))) == b"x"


# -- ends -----------------------------------------------------------------------------------------------------------


def test_an_idle_connection_that_the_app_closes_cannot_be_used() -> None:
    line = Line()
    line.connection.eof_received()

    assert not line.connection.is_open


def test_the_loss_of_a_connection_is_told_once() -> None:
    line = Line()
    line.close()

    assert line.lost == [line.connection]


def test_a_response_that_comes_too_late_is_no_fault_of_the_connection() -> None:
    line = Line()
    line.ask().cancel()
    line.hear(response())

    assert line.connection.is_open


def test_a_request_that_nobody_waits_for_any_more_ends_quietly() -> None:
    for end in (lambda line: line.hear(response()), lambda line: line.close(), lambda line: line.hear(b"garbage")):
        line = Line()
        answer = line.ask()
        answer.cancel()
        end(line)

        assert line.loop.complaints == []


def test_a_connection_that_breaks_says_how() -> None:
    line = Line()
    answer = line.ask()
    line.close(OSError(110, "Connection timed out"))

    error = answer.exception()
    assert isinstance(error, Disconnected)
    assert str(error) == "the connection broke ([Errno 110] Connection timed out) before it answered"


def test_a_connection_can_be_ended_from_outside() -> None:
    line = Line()
    answer = line.ask()
    line.connection.end(TimeoutError())
    line.connection.end(TimeoutError())

    assert isinstance(answer.exception(), TimeoutError)
    assert line.wire.is_aborted
