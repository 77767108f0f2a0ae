"""Whatever an app answers becomes a reply, and never an exception (protocol 4.6, 4.7)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from stepwell.engine.core.model import ErrorReply, OpsReply, Reply, ResultReply
from stepwell.engine.core.reply import read_reply, server_error, too_large
from stepwell.limits import OPS_PER_REPLY_MAX
from stepwell.protocol.canonical import canonical
from stepwell.protocol.ops import OpCode
from tests.unit.engine.making import T0, Machine

URL = "http://localhost:3000/api/inngest"
SDK = {"X-Inngest-SDK": "inngest-py:v0.5.19"}
OPS = [{"id": "86f7", "op": "StepRun", "displayName": "a", "data": {"b": 1}}]


def read(status: int, body: Any = None, headers: dict[str, str] | None = None, *, is_sdk: bool = True) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = CIMultiDict({**(SDK if is_sdk else {}), **(headers or {})})
    return read_reply(status, given, raw, now_ms=T0, url=URL)


def error_of(reply: Reply) -> ErrorReply:
    assert isinstance(reply, ErrorReply)
    assert canonical(reply.output).encoded == reply.output
    return reply


# -- results and ops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (b'{"b": 1.0, "a": [null]}', b'{"a":[null],"b":1}'),
        (b"null", b"null"),
        (b"", b"null"),
        (b" \n", b"null"),
        (b'"text"\n', b'"text"'),
        (b"1", b"1"),
    ],
)
def test_a_200_is_the_result(body: bytes, output: bytes) -> None:
    assert read(200, body) == ResultReply(output)


def test_a_200_that_is_not_json_is_tried_again() -> None:
    reply = error_of(read(200, b"<html>"))

    assert (reply.code, reply.no_retry) == ("invalid_reply", None)
    assert URL in reply.error.message


def test_a_200_with_no_retry_is_a_failed_run() -> None:
    reply = error_of(read(200, {"name": "E", "message": "m"}, {"X-Inngest-No-Retry": "true"}))

    assert (reply.error.name, reply.error.message, reply.no_retry) == ("E", "m", True)


def test_a_200_with_no_retry_false_is_a_result() -> None:
    assert read(200, 1, {"x-inngest-no-retry": "false"}) == ResultReply(b"1")


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"X-Inngest-Req-Version": "2"}, 2),
        ({"x-inngest-req-version": "1"}, 1),
        ({"X-Inngest-Req-Version": "0"}, 0),
        ({"X-Inngest-Req-Version": "-1"}, 0),
        ({"X-Inngest-Req-Version": "3"}, 0),
        ({"X-Inngest-Req-Version": "two"}, 0),
        ({}, 0),
    ],
)
def test_a_206_has_ops_and_the_version_of_the_sdk(headers: dict[str, str], version: int) -> None:
    reply = read(206, OPS, headers)

    assert isinstance(reply, OpsReply)
    assert reply.request_version == version
    assert [(op.id, op.code, bytes(op.data)) for op in reply.ops] == [("86f7", OpCode.STEP_RUN, b'{"b": 1}')]


def test_a_206_may_be_a_single_op() -> None:
    reply = read(206, {"id": "0737", "op": "RunComplete", "data": 1})

    assert isinstance(reply, OpsReply)
    assert [op.code for op in reply.ops] == [OpCode.RUN_COMPLETE]


def test_a_206_may_be_empty() -> None:
    reply = read(206, b" [] ")

    assert isinstance(reply, OpsReply)
    assert reply.ops == []


@pytest.mark.parametrize(
    ("headers", "no_retry", "retry_after_ms"),
    [
        ({}, None, None),
        ({"X-Inngest-No-Retry": "true"}, True, None),
        ({"X-Inngest-No-Retry": " True "}, True, None),
        ({"X-Inngest-No-Retry": "false"}, False, None),
        ({"X-Inngest-No-Retry": ""}, False, None),
        ({"Retry-After": "2"}, None, 2_000),
        ({"Retry-After": "2026-01-01T00:01:00Z"}, None, 60_000),
        ({"Retry-After": "Thu, 01 Jan 2026 00:01:00 GMT"}, None, 60_000),
        ({"Retry-After": "9999999"}, None, 86_400_000),
        ({"Retry-After": "soon"}, None, None),
    ],
)
@pytest.mark.parametrize("status", [206, 500])
def test_the_headers_of_retries_are_read(
    status: int, headers: dict[str, str], no_retry: bool | None, retry_after_ms: int | None
) -> None:
    reply = read(status, [] if status == 206 else {"message": "m"}, headers)

    assert isinstance(reply, OpsReply | ErrorReply)
    assert (reply.no_retry, reply.retry_after_ms) == (no_retry, retry_after_ms)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"1",
        b"[1]",
        b"[{}]",
        b'[{"id":"a"}]',
        b'[{"op":"StepRun"}]',
        b'[{"id":1,"op":"StepRun"}]',
        b'[{"id":null,"op":"StepRun"}]',
        b'[{"id":"a","op":"StepRun"}',
        b'[{"id":"a","op":"StepRun","data":}]',
        b'[{"id":"\xff","op":"StepRun"}]',
        b'[{"id":"a","op":"StepRun","opts":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    ],
)
def test_ops_that_cannot_be_read_are_tried_again(body: bytes) -> None:
    reply = error_of(read(206, body))

    assert (reply.code, reply.no_retry) == ("invalid_reply", None)


def test_too_many_ops_are_refused() -> None:
    op = {"id": "a", "op": "None"}

    assert isinstance(read(206, [op] * OPS_PER_REPLY_MAX), OpsReply)
    reply = error_of(read(206, [op] * (OPS_PER_REPLY_MAX + 1)))
    assert str(OPS_PER_REPLY_MAX) in reply.error.message


# -- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 404, 405, 500, 503, 202, 204, 302])
@pytest.mark.parametrize(
    ("body", "name", "message"),
    [
        (b'{"__serialized":true,"name":"Error","message":"boom","stack":"Error: boom"}', "Error", "boom"),
        (b'{"code":"unknown","message":"boom","name":"ValueError","stack":"Traceback"}', "ValueError", "boom"),
        (b'{"message":"boom"}', "Error", "boom"),
        (b'"{\\"name\\":\\"E\\",\\"message\\":\\"boom\\"}"', "E", "boom"),
        (b"boom", "Error", "boom"),
        (b'{"error":"x","foundSteps":[]}', "Error", '{"error":"x","foundSteps":[]}'),
        (b"", "Error", "Unknown error"),
    ],
)
def test_other_statuses_of_an_sdk_are_errors(status: int, body: bytes, name: str, message: str) -> None:
    reply = error_of(read(status, body))

    assert (reply.error.name, reply.error.message, reply.code) == (name, message, "function_error")


def test_the_output_of_a_failed_run_is_the_body_as_it_is() -> None:
    assert error_of(read(500, b'{"b":1,"a":2}')).output == b'{"a":2,"b":1}'
    assert error_of(read(500, b"no json \xff")).output == '"no json �"'.encode()
    assert error_of(read(500, b"")).output == b'""'


def test_a_proxy_answers_for_the_app() -> None:
    reply = error_of(read(502, b"<html>Bad gateway</html>", is_sdk=False))

    assert reply.error.name == "Server returned a fatal error"
    assert reply.error.message == "Your server returned HTTP 502 before the SDK responded."
    assert (reply.code, reply.no_retry) == ("http_not_ok", None)
    assert msgspec.json.decode(reply.output) == {"name": reply.error.name, "message": reply.error.message}


@pytest.mark.parametrize("status", [200, 201, 204, 206])
def test_an_answer_without_the_header_of_an_sdk_is_not_believed(status: int) -> None:
    reply = error_of(read(status, OPS, is_sdk=False))

    assert (reply.code, reply.no_retry) == ("not_sdk", None)


def test_a_redirect_names_where_to() -> None:
    reply = error_of(read(301, b"", {"Location": "https://elsewhere/"}, is_sdk=False))

    assert "https://elsewhere/" in reply.error.message


def test_a_refused_signature_is_explained() -> None:
    reply = error_of(read(401, {"message": "Unauthorized"}, {"X-Inngest-Sdk-Handled": "true"}, is_sdk=False))

    assert reply.code == "sig_verification_failed"
    assert "signing key" in reply.error.message


def test_an_answer_that_is_too_large_is_not_asked_for_again() -> None:
    reply = error_of(too_large(URL))

    assert (reply.code, reply.no_retry) == ("output_too_large", True)


def test_errors_of_the_server_have_their_code_in_the_output() -> None:
    reply = error_of(server_error("http_unreachable", "Unable to reach SDK URL"))

    assert msgspec.json.decode(reply.output) == {
        "error": {
            "name": "http_unreachable",
            "message": "Unable to reach SDK URL",
            "error": "http_unreachable: Unable to reach SDK URL",
        }
    }


# -- the streamed envelope ------------------------------------------------------------------------------------------


def envelope(status: int, body: object, headers: dict[str, str] | None = None) -> bytes:
    return b"  \n " + json.dumps({"status": status, "headers": headers or {}, "body": body}).encode() + b" \n"


@pytest.mark.parametrize("body", [json.dumps(OPS), OPS])
def test_a_201_holds_the_answer_as_text_or_as_it_is(body: object) -> None:
    reply = read(201, envelope(206, body, {"x-inngest-req-version": "2", "x-inngest-no-retry": "false"}))

    assert isinstance(reply, OpsReply)
    assert (reply.request_version, reply.no_retry, [op.id for op in reply.ops]) == (2, False, ["86f7"])


def test_a_201_may_hold_a_result_or_an_error() -> None:
    assert read(201, envelope(200, '{"b":1}')) == ResultReply(b'{"b":1}')
    assert read(201, envelope(200, {"b": 1})) == ResultReply(b'{"b":1}')
    reply = error_of(read(201, envelope(500, '{"message":"boom"}', {"Retry-After": "3"})))
    assert (reply.error.message, reply.retry_after_ms) == ("boom", 3_000)


def test_the_inner_headers_of_a_201_win() -> None:
    reply = read(201, envelope(206, [], {"x-inngest-req-version": "2"}), {"X-Inngest-Req-Version": "1"})

    assert isinstance(reply, OpsReply)
    assert reply.request_version == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{}",
        b"[]",
        b'{"status":"206"}',
        b'{"status":206,"body":"[]"',
        b'{"status":206,"headers":{"a":1},"body":"[]"}',
        b'{"status":206,"body":"\\ud800"}',
        b'{"status":206,"body":"\xff"}',
    ],
)
def test_a_201_that_is_no_envelope_is_tried_again(body: bytes) -> None:
    assert error_of(read(201, body)).code == "invalid_reply"


def test_a_refused_signature_in_a_201_names_the_key() -> None:
    reply = error_of(read(201, envelope(401, '{"message":"Unauthorized"}', {"X-Inngest-Sdk-Handled": "true"})))

    assert reply.code == "sig_verification_failed"
    assert "signing key" in reply.error.message


def test_a_201_in_a_201_is_an_error() -> None:
    assert isinstance(read(201, envelope(201, {"status": 200, "body": "1"})), ErrorReply)


# -- anything -------------------------------------------------------------------------------------------------------

JSON_BYTES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "op", "status", "body", "headers", "data", "error", "name"]), inner)
    ),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode())


@given(
    status=st.sampled_from([200, 201, 206, 302, 400, 401, 500, 502]),
    body=st.binary(max_size=60) | JSON_BYTES,
    headers=st.dictionaries(
        st.sampled_from(["X-Inngest-SDK", "X-Inngest-No-Retry", "Retry-After", "X-Inngest-Req-Version", "Location"]),
        st.text(max_size=12),
    ),
)
def test_any_answer_becomes_a_reply_that_the_machine_can_take(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    reply = read_reply(status, CIMultiDict(headers), body, now_ms=T0, url=URL)

    machine = Machine()
    machine.reply(reply)

    assert machine.run.status.is_final == (machine.jobs == [])
