"""Requests for steps: what is asked, and what becomes of the answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.engine.core.failure import error_json
from stepwell.engine.core.fetch import Answer, Fetched, FetchFailed, FetchRequest, fetch_failed, memo_of, read_fetch
from stepwell.errors import FetchError
from stepwell.limits import (
    FETCH_ERROR_CHARS_MAX,
    FETCH_HEADERS_CHARS_MAX,
    FETCH_OPTIONS_BYTES_MAX,
    FETCH_URL_CHARS_MAX,
    STEP_OUTPUT_BYTES_MAX,
)
from stepwell.protocol.canonical import encode
from stepwell.protocol.ops import OpCode

URL = "https://example.com/a"
KEY = "sk-0123456789abcdef"
OURS = {"user-agent": "Stepwell", "accept-encoding": "identity"}
JSON = {"content-type": "application/json"}
NOW = 1_700_000_000_000


def gateway(**options: Any) -> FetchRequest:
    return read_fetch(OpCode.GATEWAY, msgspec.json.encode({"url": URL} | options))


def inference(**options: Any) -> FetchRequest:
    return read_fetch(OpCode.AI_GATEWAY, msgspec.json.encode({"url": URL, "body": {"model": "m"}} | options))


def answer(body: bytes = b"", *fields: tuple[str, str], status: int = 200, url: str = URL) -> Answer:
    return Answer(url, status, fields, body)


def memo(request: FetchRequest, of: Answer) -> Any:
    result = memo_of(request, of, now_ms=NOW)
    assert isinstance(result, Fetched)
    value = msgspec.json.decode(result.memo)
    assert encode(value) == result.memo  # canonical
    return value


def failure(request: FetchRequest, of: Answer) -> FetchFailed:
    result = memo_of(request, of, now_ms=NOW)
    assert isinstance(result, FetchFailed)
    return result


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_a_fetch_is_what_the_op_says() -> None:
    request = gateway(
        method="put", headers={"Accept": "*/*", "X-One": "zwei ü"}, body="text ü", publish={"channel": "c"}
    )

    assert (request.method, request.url, request.body) == ("PUT", URL, "text ü".encode())
    assert request.headers == OURS | {"accept": "*/*", "x-one": "zwei ü"}


def test_a_fetch_posts_unless_it_says_otherwise() -> None:
    """Python sends nulls for what isn't given."""
    for request in (gateway(), gateway(method=None, headers=None, body=None)):
        assert (request.method, request.headers, request.body) == ("POST", OURS, b"")


@pytest.mark.parametrize(
    ("format_", "auth"),
    [
        ("openai-chat", {"authorization": f"Bearer {KEY}"}),
        ("grok", {"authorization": f"Bearer {KEY}"}),
        (None, {"authorization": f"Bearer {KEY}"}),
        ("bedrock", {"authorization": KEY}),
        ("anthropic", {"x-api-key": KEY}),
        ("gemini", {}),
    ],
)
def test_a_key_goes_where_the_format_has_it(format_: str | None, auth: dict[str, str]) -> None:
    request = inference(format=format_, auth_key=KEY, headers={"x-a": "b"}, type="step.ai.infer")

    assert (request.method, request.body) == ("POST", b'{"model":"m"}')
    assert request.headers == OURS | JSON | auth | {"x-a": "b"}
    assert request.url == (f"{URL}?key={KEY}" if format_ == "gemini" else URL)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (URL, f"{URL}?key=a%2Fb"),
        (f"{URL}?key=a/b", f"{URL}?key=a%2Fb"),
        (f"{URL}?alt=sse&key=old&x=%20#part", f"{URL}?alt=sse&x=%20&key=a%2Fb"),
    ],
)
def test_a_key_is_in_a_query_once(url: str, asked: str) -> None:
    assert inference(url=url, format="gemini", auth_key="a/b").url == asked


def test_no_key_is_no_header() -> None:
    for key in (None, ""):
        assert inference(auth_key=key).headers == OURS | JSON


def test_the_users_headers_win() -> None:
    request = inference(auth_key=KEY, headers={"Authorization": "Mine", "Content-Type": "application/x+json"})

    assert request.headers == OURS | {"authorization": "Mine", "content-type": "application/x+json"}


def test_headers_about_the_connection_are_passed_over() -> None:
    of_connection = ("Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "TE")

    assert gateway(headers=dict.fromkeys(of_connection, "1") | {"User-Agent": "me"}).headers == OURS | {
        "user-agent": "me"
    }


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [("gzip", "gzip"), ("gzip;q=1, deflate", "gzip;q=1, deflate"), ("gzip, br", "identity"), ("*", "identity")],
)
def test_only_encodings_are_asked_for_that_can_be_undone(wanted: str, asked: str) -> None:
    assert gateway(headers={"Accept-Encoding": wanted}).headers["accept-encoding"] == asked


def test_a_user_in_a_url_becomes_a_header() -> None:
    request = gateway(url="https://al%40x:p%3Aw@example.com:8443/a?b#c")

    assert request.url == "https://example.com:8443/a?b"
    assert request.headers == OURS | {"authorization": "Basic YWxAeDpwOnc="}
    assert gateway(url="https://a:b@example.com/", headers={"Authorization": "Mine"}).headers["authorization"] == "Mine"


@pytest.mark.parametrize(
    ("op", "options", "place"),
    [
        (OpCode.GATEWAY, "null", "Expected `object`"),
        (OpCode.GATEWAY, "{}", "`url`"),
        (OpCode.GATEWAY, '{"url":1}', "$.url"),
        (OpCode.GATEWAY, '{"url":""}', "$.url"),
        (OpCode.GATEWAY, '{"url":"/relative"}', "$.url"),
        (OpCode.GATEWAY, '{"url":"file:///etc/passwd"}', "$.url"),
        (OpCode.GATEWAY, '{"url":"gopher://h/"}', "$.url"),
        (OpCode.GATEWAY, '{"url":"http://"}', "$.url"),
        (OpCode.GATEWAY, '{"url":"http://[::1"}', "$.url"),
        (OpCode.GATEWAY, '{"url":"http://h:99999/"}', "$.url"),
        (OpCode.GATEWAY, '{"url":"http://h:0/"}', "$.url"),
        (OpCode.GATEWAY, '{"url":"http://h/","method":"CONNECT"}', "$.method"),
        (OpCode.GATEWAY, '{"url":"http://h/","method":"trace"}', "$.method"),
        (OpCode.GATEWAY, r'{"url":"http://h/","method":"GET / HTTP/1.1\r\nX:"}', "$.method"),
        (OpCode.GATEWAY, '{"url":"http://h/","body":{"a":1}}', "$.body"),
        (OpCode.GATEWAY, '{"url":"http://h/","headers":["a"]}', "$.headers"),
        (OpCode.GATEWAY, '{"url":"http://h/","headers":{"a":1}}', "$.headers"),
        (OpCode.GATEWAY, '{"url":"http://h/","headers":{"a b":"1"}}', "$.headers"),
        (OpCode.GATEWAY, r'{"url":"http://h/","headers":{"a\r\nb":"1"}}', "$.headers"),
        (OpCode.GATEWAY, r'{"url":"http://h/","headers":{"a":"1\r\nX-Evil: secret"}}', "$.headers['a']"),
        (OpCode.AI_GATEWAY, '{"url":"http://h/"}', "`body`"),
        (OpCode.AI_GATEWAY, '{"url":"http://h/","body":null}', "$.body"),
        (OpCode.AI_GATEWAY, '{"url":"http://h/","body":{},"auth_key":7}', "$.auth_key"),
        (OpCode.AI_GATEWAY, r'{"url":"http://h/","body":{},"auth_key":"secret\n"}', "$.auth_key"),
    ],
)
def test_what_cant_be_asked_is_refused_by_its_place(op: OpCode, options: str, place: str) -> None:
    with pytest.raises(FetchError) as refused:
        read_fetch(op, options.encode())

    assert place in str(refused.value)
    assert "secret" not in str(refused.value)


def test_requests_have_limits() -> None:
    base = len("https://h/")
    gateway(url="https://h/" + "x" * (FETCH_URL_CHARS_MAX - base))
    with pytest.raises(FetchError, match="URL has 16385 characters; the limit is 16384"):
        gateway(url="https://h/" + "x" * (FETCH_URL_CHARS_MAX - base + 1))

    gateway(headers={"x": "y" * (FETCH_HEADERS_CHARS_MAX - 5)})
    with pytest.raises(FetchError, match="headers have 65537 characters; the limit is 65536"):
        gateway(headers={"x": "y" * (FETCH_HEADERS_CHARS_MAX - 4)})

    bare = len(msgspec.json.encode({"url": URL, "body": ""}))
    gateway(body="x" * (FETCH_OPTIONS_BYTES_MAX - bare))
    with pytest.raises(FetchError, match="request has 4194305 bytes; the limit is 4194304"):
        gateway(body="x" * (FETCH_OPTIONS_BYTES_MAX - bare + 1))


@given(
    st.dictionaries(st.text(), st.text()) | st.none() | st.integers(),
    st.text() | st.none(),
    st.text() | st.just(URL),
    st.text() | st.none(),
)
def test_nothing_that_is_asked_can_end_a_line(headers: Any, method: Any, url: Any, key: Any) -> None:
    options = msgspec.json.encode(
        {"url": url, "headers": headers, "method": method, "body": "{}", "auth_key": key, "format": "anthropic"}
    )
    for op in (OpCode.GATEWAY, OpCode.AI_GATEWAY):
        try:
            request = read_fetch(op, options)
        except FetchError:
            continue
        head = request.method + "".join(f"{name}:{value}" for name, value in request.headers.items())
        assert not any(letter in head for letter in "\r\n\0")


def test_a_request_shows_no_secret() -> None:
    request = inference(url=f"https://u:{KEY}@h/?token={KEY}", auth_key=KEY, headers={"x-token": KEY}, body={"k": KEY})

    assert KEY not in f"{request!r} {request}"


# -- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status", "then"),
    [
        ("POST", 301, "GET"), ("POST", 302, "GET"), ("POST", 303, "GET"), ("POST", 307, "POST"), ("POST", 308, "POST"),
        ("PUT", 301, "PUT"), ("PUT", 303, "GET"), ("HEAD", 303, "HEAD"), ("GET", 302, "GET"),
    ],
)  # fmt: skip
def test_a_redirect_changes_the_method_as_browsers_do(method: str, status: int, then: str) -> None:
    request = gateway(method=method, body="x", headers={"Content-Type": "text/plain", "X-One": "1"})

    led = request.redirected(status, "https://example.com/b", is_same_origin=True)

    assert request.follows(status)
    assert (led.method, led.url, led.headers["x-one"]) == (then, "https://example.com/b", "1")
    is_kept = then == method
    assert (led.body, "content-type" in led.headers) == ((b"x", True) if is_kept else (b"", False))


def test_secrets_go_to_no_other_origin() -> None:
    names = ("Authorization", "Cookie", "X-Api-Key", "api-key", "X-Auth-Token", "X-Hub-Signature", "Client-Secret")
    request = gateway(headers=dict.fromkeys(names, "s") | {"Accept": "*/*", "X-One": "1"})

    assert request.redirected(307, "https://b/", is_same_origin=False).headers == OURS | {"accept": "*/*", "x-one": "1"}
    assert request.redirected(307, f"{URL}/b", is_same_origin=True).headers == request.headers


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304])
def test_a_provider_is_asked_by_post_or_not_at_all(status: int) -> None:
    assert not inference().follows(status)
    assert inference().follows(307)
    assert inference().follows(308)


# -- the memo of a fetch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 302, 404, 500, 599])
def test_any_answer_is_a_success(status: int) -> None:
    fields = (("content-type", "text/html"), ("Set-Cookie", "a=1"), ("SET-COOKIE", "b=2"), ("x-rate-limit", "7"))

    assert memo(gateway(), answer("hallo ü".encode(), *fields, status=status, url=f"{URL}/b?c")) == {
        "data": {
            "url": f"{URL}/b?c",
            "headers": {"Content-Type": "text/html", "Set-Cookie": "a=1,b=2", "X-Rate-Limit": "7"},
            "body": "hallo ü",
            "status_code": status,
        }
    }


def test_headers_tell_of_the_body_that_is_passed_on() -> None:
    length, coding, hop = ("Content-Length", "9"), ("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked")

    assert memo(gateway(), answer(b"", length, hop))["data"]["headers"] == {"Content-Length": "9"}
    assert memo(gateway(), answer(b"", length, coding))["data"]["headers"] == {}


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain", "ü€\U0001f600".encode(), "ü€\U0001f600"),
        ("text/plain; charset=utf-8", b"\xef\xbb\xbfbom", "bom"),
        ("text/plain; charset=ISO-8859-1", b"\xfc", "ü"),
        ('text/html; x=1; Charset="windows-1252"', b"\x80", "€"),
        ("text/html; charset='shift_jis'", b"\x83\x65", "テ"),
        ("text/plain; charset=utf-16", "ü".encode("utf-16"), "ü"),
        ("text/plain; charset=utf-16", b"\x00\xd8", "�"),
        ("text/plain", b"a\xff\x00b", "a�\x00b"),
        ("text/plain; charset=utf-8", b"\xed\xa0\x80", "���"),
        ("text/plain; charset=nonsense", b"a\xff", "a�"),
        ("text/plain; charset=unicode_escape", rb"\u0041", r"\u0041"),
        ("text/plain; charset=utf-7", b"+AEE-", "+AEE-"),
        ("text/plain; charset=punycode", b"a-b", "a-b"),
        ("text/plain; charset=hex", b"41", "41"),
        ("text/plain; charset=../x", b"a", "a"),
    ],
)
def test_a_body_is_text_whatever_its_charset(kind: str, body: bytes, text: str) -> None:
    assert memo(gateway(), answer(body, ("Content-Type", kind)))["data"]["body"] == text


def test_a_memo_has_a_limit_although_the_answer_is_below_it() -> None:
    """A control character is six bytes in JSON."""
    least = len(encode(memo(gateway(), answer())))

    assert memo(gateway(), answer(b"x" * (STEP_OUTPUT_BYTES_MAX - least)))
    for body in (b"x" * (STEP_OUTPUT_BYTES_MAX - least + 1), b"\0" * (STEP_OUTPUT_BYTES_MAX // 2)):
        failed = failure(gateway(), answer(body))
        assert failed.error.name == "GatewayError"
        assert "more than 4194304 bytes" in failed.error.message
        assert not failed.is_retriable


@given(st.binary(), st.lists(st.tuples(st.text("abC-_", min_size=1), st.text())), st.integers(200, 599))
def test_a_memo_is_canonical_whatever_comes(body: bytes, fields: list[tuple[str, str]], status: int) -> None:
    for kind in ((), (("content-type", "x; charset=utf-16"),)):
        memo(gateway(), answer(body, *fields, *kind, status=status))


# -- the memo of an inference -----------------------------------------------------------------------------------------


def test_an_inference_is_the_providers_json() -> None:
    result = memo_of(inference(), answer(b' {"b": 1.50, "a": [null]}', status=201), now_ms=NOW)

    assert result == Fetched(b'{"data":{"a":[null],"b":1.5}}')


def test_numbers_that_are_rounded_are_kept_beside() -> None:
    body = b'{"id":12345678901234567890}'

    assert memo_of(inference(), answer(body), now_ms=NOW) == Fetched(b'{"data":{"id":12345678901234567000}}', body)


@pytest.mark.parametrize("status", [300, 400, 401, 429, 500])
def test_a_refused_inference_says_what_came(status: int) -> None:
    failed = failure(inference(), answer(b'{"error": {"type": "rate_limit"}}', status=status))

    assert failed.is_retriable
    assert msgspec.json.decode(error_json(failed.error)) == {
        "name": "AIGatewayError",
        "message": f"Error making AI request: unsuccessful status code: {status}",
        "data": {"error": {"type": "rate_limit"}},
        "stack": '{"error": {"type": "rate_limit"}}',
    }


def test_a_refusal_that_isnt_json_is_text() -> None:
    failed = failure(inference(), answer(b"<html>", status=502))

    assert (failed.error.stack, failed.error.data) == ("<html>", msgspec.Raw(b'"<html>"'))


@pytest.mark.parametrize("body", [b"", b'{"a":', b"<html>", b'{"a":1}{', b"\xff", b"[" * 100_000])
def test_an_inference_that_isnt_json_is_tried_again(body: bytes) -> None:
    failed = failure(inference(), answer(body))

    assert failed.is_retriable
    assert failed.error.message.startswith("Error making AI request: the answer isn't JSON: ")


@pytest.mark.parametrize(("value", "delay_ms"), [("7", 7_000), ("soon", None), (None, None)])
def test_a_refusal_may_say_when_to_come_back(value: str | None, delay_ms: int | None) -> None:
    fields = () if value is None else (("retry-after", value),)

    assert failure(inference(), answer(b"{}", *fields, status=429)).retry_after_ms == delay_ms


def test_a_refusal_that_sends_the_key_back_doesnt_tell_it() -> None:
    request = inference(auth_key=KEY, headers={"X-Token": "tok-987654321", "Authorization": "Basic abcdefgh=="})
    echo = f'{{"error":"key {KEY}, token tok-987654321, auth abcdefgh=="}}'

    failed = failure(request, answer(echo.encode(), status=401))

    assert error_json(failed.error).count(b"key ***, token ***, auth ***") == 2


def test_a_long_refusal_is_cut_and_says_so() -> None:
    whole = failure(inference(), answer(b"x" * FETCH_ERROR_CHARS_MAX, status=500)).error.stack
    cut = failure(inference(), answer(b"x" * (FETCH_ERROR_CHARS_MAX + 1), status=500)).error.stack

    assert whole == "x" * FETCH_ERROR_CHARS_MAX
    assert cut == f"{whole}… (the first 16384 of 16385 characters)"


def test_an_inference_over_the_limit_fails_for_good() -> None:
    failed = failure(inference(), answer(b'"%b"' % (b"x" * STEP_OUTPUT_BYTES_MAX)))

    assert (failed.error.name, failed.is_retriable) == ("AIGatewayError", False)


def test_failures_are_called_by_their_op() -> None:
    assert fetch_failed(OpCode.GATEWAY, "x", is_retriable=True).error.message == "Error making gateway request: x"
    assert fetch_failed(OpCode.AI_GATEWAY, "x", is_retriable=True).error.message == "Error making AI request: x"
