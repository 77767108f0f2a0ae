"""Requests of steps through real sockets: answers, failures, and whom the server won't ask."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from stepwell.engine.core.fetch import Fetched, FetchFailed, FetchResult, read_fetch
from stepwell.engine.transport import fetch as fetch_module
from stepwell.engine.transport.fetch import Fetcher
from stepwell.limits import REDIRECTS_MAX, STEP_OUTPUT_BYTES_MAX
from stepwell.protocol.ops import OpCode
from tests.unit.engine.transport.peers import (
    DEADLINE_S,
    Answer,
    Request,
    response,
    says,
    says_and_closes,
    says_nothing,
    serving,
    trusting,
)

KEY = "sk-0123456789abcdef"
MOVED = "307 Moved"


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(allows_private=True, tls=trusting())
    await fetcher.start()
    yield fetcher
    await fetcher.stop()


@pytest.fixture
async def guarded() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(allows_private=False)
    await fetcher.start()
    yield fetcher
    await fetcher.stop()


async def fetch(fetcher: Fetcher, url: str, **options: Any) -> FetchResult:
    async with asyncio.timeout(DEADLINE_S):
        return await fetcher.fetch(read_fetch(OpCode.GATEWAY, msgspec.json.encode({"url": url} | options)))


async def infer(fetcher: Fetcher, url: str, **options: Any) -> FetchResult:
    given = {"url": url, "format": "openai-chat", "auth_key": KEY, "body": {"model": "small", "messages": []}} | options
    async with asyncio.timeout(DEADLINE_S):
        return await fetcher.fetch(read_fetch(OpCode.AI_GATEWAY, msgspec.json.encode(given)))


def data(result: FetchResult) -> Any:
    assert isinstance(result, Fetched), result
    return msgspec.json.decode(result.memo)["data"]


def failed(result: FetchResult, *, is_retriable: bool) -> str:
    """Return the message of a failure."""
    assert isinstance(result, FetchFailed), result
    assert result.is_retriable is is_retriable
    assert KEY not in repr(result)
    return result.error.message


def leads_to(location: str, status: str = MOVED) -> bytes:
    return response(b"", f"Location: {location}", status=status)


def completes(status: str = "200 OK", *fields: str) -> Answer:
    """Answer as a provider of models does, that knows one key and one path."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        asked = msgspec.json.decode(request.body)
        is_allowed = request.fields.get("authorization") == f"Bearer {KEY}"
        if request.line != "POST /v1/chat/completions HTTP/1.1" or not is_allowed:
            writer.write(response(b'{"error":{"message":"no"}}', status="401 Unauthorized"))
        elif status != "200 OK":
            writer.write(response(b'{"error": {"message": "slow down"}}', *fields, status=status))
        else:
            reply = {"model": asked["model"], "choices": [{"message": {"role": "assistant", "content": "hallo"}}]}
            writer.write(response(msgspec.json.encode(reply), "Content-Type: application/json", status=status))

    return answer


# -- answers ----------------------------------------------------------------------------------------------------------


async def test_a_fetch_becomes_the_steps_data(fetcher: Fetcher) -> None:
    page = response("grüß".encode("latin-1"), "Content-Type: text/plain; charset=latin-1", "X-A: 1", status="404 No")
    async with serving(says(page)) as peer:
        found = data(await fetch(fetcher, peer.url("/a?b=c#d"), method="PATCH", headers={"X-One": "ü"}, body="ä"))

        [request] = peer.requests
        await peer.closed()
    assert (request.line, request.body) == ("PATCH /a?b=c HTTP/1.1", "ä".encode())
    assert request.fields["x-one"] == "ü"
    assert request.fields["accept-encoding"] == "identity"
    assert (found["url"], found["status_code"], found["body"]) == (peer.url("/a?b=c"), 404, "grüß")
    assert found["headers"]["Content-Type"] == "text/plain; charset=latin-1"
    assert found["headers"]["X-A"] == "1"


async def test_a_get_says_nothing_about_a_body(fetcher: Fetcher) -> None:
    async with serving(says(response(b"ok", status="200 OK"))) as peer:
        await fetch(fetcher, peer.url(), method="GET")
        await fetch(fetcher, peer.url(), method="POST")

        assert ["Content-Length" in request.fields for request in peer.requests] == [False, True]


async def test_a_head_has_headers_only(fetcher: Fetcher) -> None:
    async with serving(says(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")) as peer:
        found = data(await fetch(fetcher, peer.url(), method="HEAD"))

        await peer.closed()
    assert (found["body"], found["headers"]) == ("", {"Content-Length": "5000000"})


async def test_an_encoded_answer_is_passed_on_decoded(fetcher: Fetcher) -> None:
    async with serving(says(response(gzip.compress(b"hallo"), "Content-Encoding: gzip"))) as peer:
        found = data(await fetch(fetcher, peer.url(), headers={"Accept-Encoding": "gzip"}))

        assert peer.requests[0].fields["accept-encoding"] == "gzip"
    assert found["body"] == "hallo"
    assert "Content-Encoding" not in found["headers"]


async def test_headers_of_an_interim_answer_and_trailers_are_none_of_the_answers(fetcher: Fetcher) -> None:
    early = b"HTTP/1.1 103 Early\r\nX-Early: 1\r\n\r\n"
    late = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n"
    async with serving(says(early + late)) as peer:
        found = data(await fetch(fetcher, peer.url()))

    assert (found["body"], found["headers"]) == ("ok", {})


async def test_a_large_answer_is_read_whole(fetcher: Fetcher) -> None:
    async with serving(says(response(b"x" * 3_000_000))) as peer:
        assert len(data(await fetch(fetcher, peer.url()))["body"]) == 3_000_000


async def test_fetches_have_a_connection_each(fetcher: Fetcher) -> None:
    async with serving(says(response(b"ok"))) as peer:
        await asyncio.gather(*(fetch(fetcher, peer.url()) for _ in range(3)))
        await fetch(fetcher, peer.url())

        assert peer.connection_count == 4


async def test_a_fetch_over_tls_checks_the_certificate(fetcher: Fetcher) -> None:
    strict = Fetcher(allows_private=True)
    await strict.start()
    async with serving(says(response(b"ok")), tls=True) as peer:
        url = peer.url(host="localhost", scheme="https")
        assert data(await fetch(fetcher, url))["body"] == "ok"
        message = failed(await fetch(strict, url), is_retriable=True)
    await strict.stop()

    assert f"{url} has a certificate that isn't trusted" in message


# -- models -----------------------------------------------------------------------------------------------------------


async def test_an_inference_becomes_the_providers_json(fetcher: Fetcher) -> None:
    async with serving(completes()) as peer:
        reply = data(await infer(fetcher, peer.url("/v1/chat/completions")))

    assert reply["choices"][0]["message"]["content"] == "hallo"


async def test_a_provider_that_is_busy_is_asked_again(fetcher: Fetcher) -> None:
    async with serving(completes("429 Too Many", "Retry-After: 7")) as peer:
        result = await infer(fetcher, peer.url("/v1/chat/completions"))

    assert failed(result, is_retriable=True) == "Error making AI request: unsuccessful status code: 429"
    assert isinstance(result, FetchFailed)
    assert result.error.data == msgspec.Raw(b'{"error":{"message":"slow down"}}')
    assert result.error.stack == '{"error": {"message": "slow down"}}'
    assert result.retry_after_ms == 7_000


async def test_a_provider_that_breaks_off_its_json_is_asked_again(fetcher: Fetcher) -> None:
    async with serving(says(response(b'{"choices":[', status="200 OK"))) as peer:
        message = failed(await infer(fetcher, peer.url()), is_retriable=True)

    assert message.startswith("Error making AI request: the answer isn't JSON: ")


async def test_a_large_inference_is_read_whole(fetcher: Fetcher) -> None:
    async with serving(says(response(b'["%b"]' % (b"x" * 3_000_000), status="200 OK"))) as peer:
        assert len(data(await infer(fetcher, peer.url()))[0]) == 3_000_000


async def test_an_inference_follows_only_what_keeps_its_request(fetcher: Fetcher) -> None:
    async with serving(completes()) as peer:
        there = peer.url("/v1/chat/completions")
        async with serving(says(leads_to("/two"), leads_to(there))) as other:
            key_stayed_behind = await infer(fetcher, other.url())
            found = await infer(fetcher, other.url(), headers={"Authorization": f"Bearer {KEY}"})
        async with serving(says(leads_to(there, "302 Found"))) as other:
            moved = await infer(fetcher, other.url())

    assert "unsuccessful status code: 401" in failed(key_stayed_behind, is_retriable=True)
    assert "unsuccessful status code: 401" in failed(found, is_retriable=True)
    assert "unsuccessful status code: 302" in failed(moved, is_retriable=True)


# -- failures ---------------------------------------------------------------------------------------------------------


async def test_a_refused_connection_is_tried_again(fetcher: Fetcher) -> None:
    async with serving(says_nothing) as peer:
        pass

    url = peer.url(f"/a?token={KEY}")

    assert failed(await fetch(fetcher, url), is_retriable=True) == (
        f"Error making gateway request: {peer.url('/a')} refuses connections"
    )
    assert failed(await infer(fetcher, url), is_retriable=True) == (
        f"Error making AI request: {peer.url('/a')} refuses connections"
    )


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says_and_closes(b""), "closed the connection before it answered"),
        (says_and_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"), "in the middle of its answer"),
        (says(b"SSH-2.0-OpenSSH\r\n"), "can't be understood"),
        (says(response(b"x", "Content-Encoding: br")), "can't be understood"),
    ],
)
async def test_a_broken_answer_is_tried_again(fetcher: Fetcher, answer: Answer, why: str) -> None:
    async with serving(answer) as peer:
        assert why in failed(await fetch(fetcher, peer.url()), is_retriable=True)


async def test_a_name_that_nobody_knows_is_tried_again() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror

    fetcher = Fetcher(allows_private=False, resolve=resolve)
    await fetcher.start()
    message = failed(await fetch(fetcher, f"https://user:{KEY}@nobody.example/"), is_retriable=True)
    await fetcher.stop()

    assert message == "Error making gateway request: https://nobody.example/ has a host name that isn't known"


async def test_a_slow_answer_has_an_end() -> None:
    """It begins in time, and then drips."""

    async def drip(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.01)

    fetcher = Fetcher(allows_private=True, timeout_ms=100)
    await fetcher.start()
    for answer in (says_nothing, drip):
        async with serving(answer) as peer:
            assert "did not answer within 0.1 s" in failed(await fetch(fetcher, peer.url()), is_retriable=True)
            await peer.closed()
    await fetcher.stop()


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 200 OK\r\nContent-Length: {STEP_OUTPUT_BYTES_MAX + 1}\r\n\r\n".encode(),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (STEP_OUTPUT_BYTES_MAX + 1),
        response(gzip.compress(bytes(STEP_OUTPUT_BYTES_MAX + 1)), "Content-Encoding: gzip"),
    ],
)
async def test_a_huge_answer_fails_for_good(fetcher: Fetcher, answer: bytes) -> None:
    async with serving(says(answer)) as peer:
        for asked in (fetch, infer):
            message = failed(await asked(fetcher, peer.url()), is_retriable=False)
            assert f"the answer has more than {STEP_OUTPUT_BYTES_MAX} bytes" in message


async def test_a_fetcher_that_stops_ends_what_is_under_way(fetcher: Fetcher) -> None:
    async with serving(says_nothing) as peer:
        under_way = asyncio.create_task(fetch(fetcher, peer.url()))
        await peer.asked.wait()
        await fetcher.stop()

        assert "the server stops" in failed(await under_way, is_retriable=True)


async def test_nothing_is_logged(fetcher: Fetcher, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(says_and_closes(b"")) as peer:
        await infer(fetcher, peer.url(f"/?key={KEY}"))

    assert KEY not in caplog.text


# -- redirects --------------------------------------------------------------------------------------------------------


async def test_a_redirect_is_followed_and_the_last_url_is_told(fetcher: Fetcher) -> None:
    async with serving(says(leads_to("b?c#d", "302 Found"), response(b"there", status="200 OK"))) as peer:
        found = data(await fetch(fetcher, peer.url("/x/a"), body="one"))

        assert [request.line for request in peer.requests] == ["POST /x/a HTTP/1.1", "GET /x/b?c HTTP/1.1"]
    assert (found["url"], found["body"]) == (peer.url("/x/b?c"), "there")


async def test_redirects_have_an_end(fetcher: Fetcher) -> None:
    async with serving(says(*[leads_to("/on")] * REDIRECTS_MAX, response(b"there"))) as peer:
        assert data(await fetch(fetcher, peer.url()))["body"] == "there"
    async with serving(says(leads_to(f"/on?token={KEY}"))) as peer:
        message = failed(await fetch(fetcher, peer.url()), is_retriable=False)

        assert len(peer.requests) == REDIRECTS_MAX + 1
        assert message == f"Error making gateway request: more than 3 redirects, the last to {peer.url('/on')}"


async def test_a_secret_goes_to_no_other_origin(fetcher: Fetcher) -> None:
    async with serving(says(response(b"there"))) as there, serving(says(leads_to("/near"))) as here:
        here.answer = says(leads_to("/near"), leads_to(there.url("/far")))
        url = here.url().replace("://", f"://user:{KEY}@")
        await fetch(fetcher, url, headers={"Cookie": "a=b", "X-One": "1"})
        near, far = here.requests[1].fields, there.requests[0].fields

    assert {"authorization", "cookie", "x-one"} <= near.keys()
    assert far.keys() & {"authorization", "cookie", "x-one"} == {"x-one"}


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://", "http://[::1", "http://h:99999/", "gopher://h/"])
async def test_a_redirect_to_what_is_no_url_fails_for_good(fetcher: Fetcher, location: str) -> None:
    async with serving(says(leads_to(location))) as peer:
        failed(await fetch(fetcher, peer.url()), is_retriable=False)


# -- whom the server won't ask ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "LocalHost", "127.1", "2130706433", "0x7f000001", "0x7F.0.0.1", "0177.0.0.1",
        "017700000001", "\uff11\uff12\uff17.0.0.1", "127\u30020.0.1", "0.0.0.0", "0", "[::1]", "[::]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[fe80::1]",
        "[fe80::1%25lo]", "10.0.0.1", "169.254.169.254", "100.100.100.200", "[fd00:ec2::254]", "224.0.0.1",
        "user:pass@127.0.0.1",
    ],
)  # fmt: skip
async def test_an_address_that_isnt_public_isnt_asked_however_it_is_written(guarded: Fetcher, host: str) -> None:
    async with serving(says(response(b"secret"))) as peer:
        for asked in (fetch, infer):
            message = failed(await asked(guarded, f"http://{host}:{peer.port}/"), is_retriable=False)
            assert "leads to an address that isn't public" in message
            assert "--allow-private-fetches" in message

        assert peer.connection_count == 0


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1", "10.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%lo"], [""]])
async def test_a_name_that_leads_to_none_that_is_public_isnt_asked(addresses: list[str]) -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return addresses

    fetcher = Fetcher(allows_private=False, resolve=resolve)
    await fetcher.start()
    async with serving(says(response(b"secret"))) as peer:
        message = failed(await fetch(fetcher, peer.url("/a", host="rebind.example")), is_retriable=False)

        assert peer.connection_count == 0
        assert f"http://rebind.example:{peer.port}/a leads to an address" in message
    await fetcher.stop()


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "2130706434", "private.example"])
async def test_a_redirect_to_an_address_that_isnt_public_isnt_followed(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of loopback, 127.0.0.1 stands for the internet here."""
    monkeypatch.setattr(fetch_module, "is_public", lambda address: address == "127.0.0.1")

    async def resolve(host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"] if host == "public.example" else ["127.0.0.2"]

    fetcher = Fetcher(allows_private=False, resolve=resolve)
    await fetcher.start()
    async with serving(says(response(b"secret")), host="127.0.0.2") as private:
        async with serving(says(leads_to(f"http://{host}:{private.port}/meta?token={KEY}"))) as peer:
            message = failed(await fetch(fetcher, peer.url(host="public.example")), is_retriable=False)

            assert len(peer.requests) == 1
        assert private.connection_count == 0
    await fetcher.stop()

    assert f"http://{host}:{private.port}/meta leads to an address that isn't public" in message


async def test_a_name_isnt_looked_up_again_between_the_check_and_the_connection() -> None:
    """The name is public first and private a moment later: the connection is to what was checked, and nothing else."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    dialled: list[str] = []

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return next(answers)

    def may_dial(address: str) -> bool:
        dialled.append(address)
        return address == "127.0.0.1"

    fetcher = Fetcher(allows_private=False, resolve=resolve)
    fetcher._may_dial = may_dial
    await fetcher.start()
    async with serving(says(response(b"public"))) as peer:
        assert data(await fetch(fetcher, peer.url(host="rebind.example")))["body"] == "public"
    await fetcher.stop()

    assert dialled == ["127.0.0.1"]


async def test_of_several_addresses_only_public_ones_are_tried() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1", "10.0.0.1"]

    fetcher = Fetcher(allows_private=False, resolve=resolve)
    fetcher._may_dial = lambda address: address == "127.0.0.1"
    await fetcher.start()
    async with serving(says(response(b"public"))) as peer:
        for _ in range(4):
            assert data(await fetch(fetcher, peer.url(host="mixed.example")))["body"] == "public"
    await fetcher.stop()
