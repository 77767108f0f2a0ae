"""Whole requests: redirects, encodings, TLS."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from stepwell.engine.transport.client import Client, TooManyRedirects
from stepwell.engine.transport.connection import NotHttp, Response, TooLarge
from stepwell.limits import REDIRECTS_MAX
from tests.unit.engine.transport.peers import (
    DEADLINE_S,
    Request,
    response,
    says,
    says_nothing,
    serving,
    trusting,
)

BODY_MAX = 10_000
REDIRECTS = (301, 302, 307, 308)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(idle_s=4, body_bytes_max=BODY_MAX, tls=trusting()) as client:
        yield client


async def put(client: Client, url: str, body: bytes = b"{}", *, headers: dict[str, str] | None = None) -> Response:
    return await client.request("PUT", url, timeout_s=DEADLINE_S, headers=headers, body=body, follows=REDIRECTS)


def leads_to(location: str, status: int = 307) -> bytes:
    return response(b"", f"Location: {location}", status=f"{status} Moved")


# -- requests -------------------------------------------------------------------------------------------------------


async def test_a_request_arrives_as_it_was_given(client: Client) -> None:
    async with serving(says(response(b"ok", "Retry-After: 1", status="200 OK"))) as peer:
        answered = await put(client, peer.url("/a b?x=ä"), b"body", headers={"X-One": "1", "X-Two": "zwei ü"})

        request = peer.requests[0]
    assert request.line == "PUT /a%20b?x=%C3%A4 HTTP/1.1"
    assert request.fields == {
        "Host": f"127.0.0.1:{peer.port}", "X-One": "1", "X-Two": "zwei ü", "Content-Length": "4"
    }  # fmt: skip
    assert request.body == b"body"
    assert (answered.status, answered.body, answered.headers["Retry-After"]) == (200, b"ok", "1")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", "\x00", "a\x7f"])
async def test_a_header_that_would_end_its_line_is_refused(client: Client, value: str) -> None:
    async with serving(says(response())) as peer:
        with pytest.raises(ValueError, match="can't be sent"):
            await put(client, peer.url(), headers={"X-One": value})

        assert peer.requests == []


async def test_a_large_body_is_sent_and_received_whole() -> None:
    sent = b"x" * 3_000_000

    async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(response(request.body))

    async with serving(echo) as peer, Client(idle_s=4, body_bytes_max=len(sent)) as client:
        for _ in range(2):
            assert (await put(client, peer.url(), sent)).body == sent

        assert peer.connection_count == 1


async def test_an_answer_to_half_a_request_is_taken_and_the_connection_closed(client: Client) -> None:
    async with serving(says(response(status="413 Too Large"))) as peer:
        answered = await put(client, peer.url(), b"x" * 20_000_000, headers={"Expect-No-Body": "1"})

        assert answered.status == 413
        assert client.pool.idle_count == 0
        await peer.closed()


async def test_the_time_is_for_all_of_a_request(client: Client) -> None:
    async def lead_on(request: Request, writer: asyncio.StreamWriter) -> None:
        if "again" not in request.line:
            writer.write(leads_to("/again"))

    async with serving(lead_on) as peer:
        with pytest.raises(TimeoutError):
            await client.request("PUT", peer.url(), timeout_s=0.1, follows=REDIRECTS)

        assert len(peer.requests) == 2
        await peer.closed()


async def test_connecting_counts_into_the_time_of_a_request(client: Client) -> None:
    """The server accepts, but says nothing to the TLS handshake."""
    async with serving(says_nothing) as peer, asyncio.timeout(DEADLINE_S / 2):
        with pytest.raises(TimeoutError):
            await client.request("PUT", peer.url(scheme="https"), timeout_s=0.05)

        await peer.closed()


async def test_a_client_that_is_left_closes_its_connections() -> None:
    async with serving(says(response())) as peer:
        async with Client(idle_s=4) as client:
            await put(client, peer.url())
        await peer.closed()


# -- redirects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirect_keeps_method_headers_and_body(client: Client, status: int) -> None:
    async with serving(says(response(b"there"))) as there:
        async with serving(says(leads_to(there.url("/b?c=d"), status))) as here:
            answered = await put(client, here.url("/a"), b"body", headers={"X-One": "1"})

        assert answered.body == b"there"
        assert (there.requests[0].line, there.requests[0].body) == ("PUT /b?c=d HTTP/1.1", b"body")
        assert there.requests[0].fields["Host"] == f"127.0.0.1:{there.port}"
        assert there.requests[0].fields["X-One"] == "1"


@pytest.mark.parametrize(
    ("location", "path"),
    [("b", "/x/b"), ("/b", "/b"), ("?q=1", "/x/a?q=1"), ("../b c", "/b%20c"), ("//127.0.0.1:{port}/z", "/z")],
)
async def test_a_location_may_be_relative(client: Client, location: str, path: str) -> None:
    async with serving(says(response())) as peer:
        peer.answer = says(leads_to(location.format(port=peer.port)), response())

        await put(client, peer.url("/x/a"))

        assert [request.line for request in peer.requests] == ["PUT /x/a HTTP/1.1", f"PUT {path} HTTP/1.1"]
        assert peer.connection_count == 1


async def test_a_user_and_password_are_for_one_origin(client: Client) -> None:
    async with serving(says(response())) as there, serving(says(response())) as here:
        here.answer = says(leads_to("/next"), leads_to(there.url()))

        await put(client, here.url().replace("//", "//user:secret@"))

        users = ["Authorization" in request.fields for request in (*here.requests, *there.requests)]
    assert users == [True, True, False]


async def test_redirects_are_followed_a_few_times(client: Client) -> None:
    async with serving(says(*[leads_to("/")] * REDIRECTS_MAX, response(b"found"))) as peer:
        assert (await put(client, peer.url())).body == b"found"

        peer.answer = says(leads_to("/"))
        with pytest.raises(TooManyRedirects):
            await put(client, peer.url())
        assert len(peer.requests) == 2 * (REDIRECTS_MAX + 1)


async def test_a_redirect_that_was_not_asked_for_is_the_answer(client: Client) -> None:
    async with serving(says(leads_to("/b"))) as peer:
        answered = await client.request("PUT", peer.url(), timeout_s=DEADLINE_S)

    assert (answered.status, answered.headers["Location"]) == (307, "/b")


async def test_a_redirect_to_nowhere_is_the_answer(client: Client) -> None:
    async with serving(says(response(status="307 Moved"))) as peer:
        assert (await put(client, peer.url())).status == 307


@pytest.mark.parametrize("location", ["ftp://a/", "http://[", "http://a b/", "file:///etc/passwd"])
async def test_a_redirect_to_what_cannot_be_asked_is_an_error(client: Client, location: str) -> None:
    async with serving(says(leads_to(location))) as peer:
        with pytest.raises(ValueError):  # noqa: PT011 # whatever the parsers say
            await put(client, peer.url())


# -- encodings ------------------------------------------------------------------------------------------------------


def raw_deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


async def encoded(client: Client, encoding: str, body: bytes) -> bytes:
    async with serving(says(response(body, f"Content-Encoding: {encoding}"))) as peer:
        return (await put(client, peer.url())).body


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"text", mtime=0)),
        ("GZIP", gzip.compress(b"text", mtime=0)),
        ("x-gzip", gzip.compress(b"text", mtime=0)),
        ("deflate", zlib.compress(b"text")),
        ("deflate", raw_deflated(b"text")),
        ("identity", b"text"),
        ("", b"text"),
    ],
)
async def test_an_encoded_body_is_decoded(client: Client, encoding: str, body: bytes) -> None:
    assert await encoded(client, encoding, body) == b"text"


async def test_an_empty_body_is_in_any_encoding(client: Client) -> None:
    assert await encoded(client, "br", b"") == b""


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"text"),
        ("gzip, gzip", b"text"),
        ("gzip", b"text"),
        ("deflate", b"text"),
        ("gzip", raw_deflated(b"text")),
        ("gzip", gzip.compress(b"text", mtime=0)[:-1]),
        ("gzip", gzip.compress(b"text", mtime=0) + gzip.compress(b"more", mtime=0)),
        ("deflate", raw_deflated(b"text" * 1000)[:-1]),
    ],
)
async def test_a_body_that_cannot_be_decoded_is_told(client: Client, encoding: str, body: bytes) -> None:
    with pytest.raises(NotHttp):
        await encoded(client, encoding, body)


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("deflate", raw_deflated)])
async def test_a_small_body_that_holds_a_large_one_is_too_large(
    client: Client, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    assert len(await encoded(client, encoding, encode(b"x" * BODY_MAX))) == BODY_MAX
    with pytest.raises(TooLarge):
        await encoded(client, encoding, encode(b"x" * (BODY_MAX + 1)))


# -- TLS ------------------------------------------------------------------------------------------------------------


async def test_a_trusted_certificate_opens_a_connection_that_is_kept(client: Client) -> None:
    async with serving(says(response(b"safe")), tls=True, host="localhost") as peer:
        for _ in range(2):
            assert (await put(client, peer.url(host="localhost", scheme="https"))).body == b"safe"

        assert peer.connection_count == 1


async def test_a_certificate_of_another_authority_is_refused() -> None:
    async with serving(says(response()), tls=True, host="localhost") as peer, Client(idle_s=4) as client:
        with pytest.raises(ssl.SSLCertVerificationError):
            await put(client, peer.url(host="localhost", scheme="https"))

        assert peer.requests == []


async def test_a_certificate_of_another_host_is_refused(client: Client) -> None:
    async with serving(says(response()), tls=True) as peer:
        with pytest.raises(ssl.SSLCertVerificationError):
            await put(client, peer.url(scheme="https"))


async def test_a_server_without_tls_is_no_https(client: Client) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(OSError, match="SSL"):
        await put(client, f"https://127.0.0.1:{port}/")
    server.close()
    await server.wait_closed()


async def test_stopping_breaks_off_a_request_over_tls() -> None:
    async with serving(says_nothing, tls=True, host="localhost") as peer:
        client = Client(idle_s=4, tls=trusting())
        asking = asyncio.ensure_future(put(client, peer.url(host="localhost", scheme="https")))
        await peer.asked.wait()

        await client.stop()

        with pytest.raises(ConnectionError):
            await asking
        await peer.closed()
