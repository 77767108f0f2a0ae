"""Calls over HTTP: whatever goes wrong is a reply, since a call that raises would leave its run without anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stepwell.engine.core.model import ErrorReply
from stepwell.engine.transport import OutgoingCall
from stepwell.engine.transport.http import HttpTransport, call_url


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport()
    await transport.start()
    yield transport
    await transport.stop()


def call_to(url: str) -> OutgoingCall:
    return OutgoingCall(
        url=url,
        step_id="step",
        run_id="run",
        request_id="request",
        request_version=-1,
        body=b"{}",
    )


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
    reply = await transport.call(call_to(url))

    assert isinstance(reply, ErrorReply)
    assert reply.code == "http_unreachable"


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("http://a/api?fnId=f&stepId=step", "http://a/api?fnId=f&stepId=x"),
        ("http://a/api?stepId=step&fnId=f", "http://a/api?fnId=f&stepId=x"),
        ("http://a/api?fnId=f", "http://a/api?fnId=f&stepId=x"),
        ("http://a/api", "http://a/api?stepId=x"),
        ("http://a/api?fnId=a%20b%2Fc&empty=", "http://a/api?fnId=a+b%2Fc&empty=&stepId=x"),
    ],
)
def test_the_step_is_named_in_the_url_and_the_rest_of_it_kept(url: str, called: str) -> None:
    assert str(call_url(url, "x")) == called
