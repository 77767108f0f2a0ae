"""The serve path, request by request: both entries, dev and production, well-meaning and hostile."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx2
import msgspec
import pytest

from stepwell import NonRetriableError, RetryAfterError, Step, Stepwell
from stepwell.limits import CALL_BODY_BYTES_MAX
from stepwell.protocol import headers
from stepwell.protocol.signature import hashed_key, sign, verify
from stepwell.protocol.sync import FunctionConfig, read_sync
from stepwell.sdk.client import Client
from stepwell.sdk.handler import Handler
from stepwell.sdk.http import Request, Response
from tests.unit.sdk.pretend import SERVE_URL, PretendHttp, PretendRun, new_app, respond_by

KEY = "signkey-prod-12345678"
OLD_KEY = "signkey-prod-87654321"
NOW_S = 1_700_000_000


@pytest.fixture(params=[False, True], ids=["async", "sync"])
def is_sync(request: pytest.FixtureRequest) -> bool:
    return request.param


def app_with(api: PretendHttp | None = None, **settings: Any) -> Stepwell:
    sw = new_app(**settings)
    sw.client = Client(sw.settings, transport=httpx2.MockTransport(api or PretendHttp(httpx2.Response(500))))
    sw.handler = Handler(sw, now_s=lambda: float(NOW_S))

    @sw.function("f", on="test/event", on_failure=lambda: None)
    async def f(step: Step) -> str:
        return await step.run("a", lambda: "done")

    return sw


def production(api: PretendHttp | None = None, **settings: Any) -> Stepwell:
    return app_with(api, is_dev=False, signing_key=KEY, signing_key_fallback=OLD_KEY, event_key="evt", **settings)


def request(
    method: str, query: str = "", body: bytes | None = b"", *, key: str | None = None, **others: str
) -> Request:
    found = {name.replace("_", "-").lower(): value for name, value in others.items()}
    if key is not None:
        found[headers.SIGNATURE.lower()] = sign(key, body or b"", NOW_S)
    return Request(method, SERVE_URL + query, found, body, "test")


def decoded(response: Response) -> Any:
    return msgspec.json.decode(response.body)


CALL = "?fnId=acme-f&stepId=step"


# Methods, bodies, functions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_another_method_is_not_allowed(method: str, is_sync: bool) -> None:
    response = await respond_by(app_with().handler, request(method), is_sync=is_sync)

    assert response.status == 405
    assert response.headers["Allow"] == "GET, PUT, POST"


async def test_a_body_over_the_limit_is_refused_for_good(is_sync: bool) -> None:
    response = await respond_by(app_with().handler, request("POST", CALL, None), is_sync=is_sync)

    assert response.status == 413
    assert str(CALL_BODY_BYTES_MAX) in decoded(response)["message"]
    assert response.headers[headers.NO_RETRY] == "true"


async def test_an_unknown_function_is_named_with_those_that_are_known(is_sync: bool) -> None:
    response = await respond_by(app_with().handler, request("POST", "?fnId=acme-g", b"{}"), is_sync=is_sync)

    assert (response.status, decoded(response)["code"]) == (500, "function_not_found")
    assert decoded(response)["message"] == "app 'acme' has no function 'acme-g'; it has: acme-f, acme-f-failure"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"ctx":{}}',
        b'{"ctx":{"run_id":5}}',
        b'{"ctx":{"run_id":"r"},"steps":7}',
        b'{"ctx":{"run_id":"\xff"}}',
        b'{"ctx":{"run_id":"r"},"steps":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
)
async def test_a_malformed_call_is_refused(body: bytes, is_sync: bool) -> None:
    response = await respond_by(app_with().handler, request("POST", CALL, body), is_sync=is_sync)

    assert (response.status, decoded(response)["code"]) == (400, "invalid_body")


async def test_every_answer_says_which_sdk_made_it(is_sync: bool) -> None:
    sw = app_with(env="branch-a")
    response = await respond_by(sw.handler, request("POST", CALL, PretendRun(sw, "f").body()), is_sync=is_sync)

    assert response.status == 206
    assert response.headers == {
        "Content-Type": "application/json",
        "X-Inngest-SDK": "stepwell-py:v0.1.0",
        "X-Inngest-Framework": "test",
        "X-Inngest-Req-Version": "2",
        "X-Inngest-Sdk-Handled": "true",
        "X-Inngest-Expected-Server-Kind": "dev",
        "X-Inngest-Env": "branch-a",
    }


# Function errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code", "no_retry", "retry_after"),
    [
        (ValueError("no"), 500, "unknown", "false", None),
        (NonRetriableError("never"), 400, "non_retriable_error", "true", None),
        (RetryAfterError("later", 1.2), 500, "retry_after_error", "false", "2"),
        (ExceptionGroup("many", [NonRetriableError("never"), ValueError("no")]), 500, "unknown", "false", None),
        (ExceptionGroup("many", [RetryAfterError("later", 7)]), 500, "unknown", "false", "7"),
        (ExceptionGroup("many", [NonRetriableError("never")]), 400, "unknown", "true", None),
    ],
)
async def test_an_error_of_a_function_says_when_it_may_be_tried_again(
    error: Exception, status: int, code: str, no_retry: str, retry_after: str | None, is_sync: bool
) -> None:
    sw = app_with()

    @sw.function("g", on="a")
    def g() -> None:
        raise error.with_traceback(None)  # the same object in each test

    answer = await PretendRun(sw, "g", is_sync=is_sync).call()

    assert (answer.status, answer.headers[headers.NO_RETRY]) == (status, no_retry)
    assert answer.headers.get("Retry-After") == retry_after
    assert (answer.body["code"], answer.body["name"]) == (code, type(error).__name__)
    assert "raise error" in answer.body["stack"]
    assert "stepwell/sdk/handler" not in answer.body["stack"]


# Signatures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, OLD_KEY], ids=["current", "fallback"])
async def test_a_signed_call_is_answered_and_signed_with_the_same_key(key: str, is_sync: bool) -> None:
    sw = production()
    call = request("POST", CALL, PretendRun(sw, "f").body(), key=key)

    response = await respond_by(sw.handler, call, is_sync=is_sync)

    assert response.status == 206
    assert verify([key], response.body, response.headers[headers.SIGNATURE], NOW_S) == key


async def test_a_signature_over_the_canonical_form_is_accepted(is_sync: bool) -> None:
    sw = production()
    body = PretendRun(sw, "f").body()
    signature = sign(KEY, msgspec.json.encode(msgspec.json.decode(body), order="sorted"), NOW_S)

    response = await respond_by(sw.handler, request("POST", CALL, body, x_inngest_signature=signature), is_sync=is_sync)

    assert response.status == 206


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "nonsense",
        sign("signkey-prod-aaaa", b"{}", NOW_S),
        sign(KEY, b"other", NOW_S),
        sign(KEY, b"{}", NOW_S - 301),
        sign(KEY, b"{}", NOW_S + 301),
    ],
    ids=["none", "empty", "nonsense", "other key", "other body", "old", "ahead"],
)
@pytest.mark.parametrize(("method", "query"), [("POST", CALL), ("POST", "?probe=trust"), ("PUT", ""), ("GET", "")])
async def test_in_production_a_bad_signature_is_unauthorized_and_told_nothing(
    method: str, query: str, signature: str | None, is_sync: bool
) -> None:
    given = {} if signature is None else {"x_inngest_signature": signature}

    response = await respond_by(production().handler, request(method, query, b"{}", **given), is_sync=is_sync)

    assert response.status == 401
    assert decoded(response)["message"].startswith("Unauthorized")
    assert headers.SDK not in response.headers
    assert headers.SIGNATURE not in response.headers
    assert response.headers[headers.SDK_HANDLED] == "true"


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_app_in_production_without_a_signing_key_says_what_to_set(method: str, is_sync: bool) -> None:
    response = await respond_by(app_with(is_dev=False).handler, request(method, CALL, b"{}"), is_sync=is_sync)

    assert response.status == 500
    assert "set STEPWELL_SIGNING_KEY" in decoded(response)["message"]
    assert "STEPWELL_DEV=1" in decoded(response)["message"]


async def test_the_trust_probe_is_answered_and_signed(is_sync: bool) -> None:
    response = await respond_by(production().handler, request("POST", "?probe=trust", b"{}", key=KEY), is_sync=is_sync)

    assert (response.status, response.body) == (200, b"null")
    assert verify([KEY], response.body, response.headers[headers.SIGNATURE], NOW_S) == KEY


# Introspection -------------------------------------------------------------------------------------------------------


async def test_in_dev_mode_anyone_may_look(is_sync: bool) -> None:
    response = await respond_by(app_with().handler, request("GET"), is_sync=is_sync)

    assert (response.status, response.headers[headers.SDK]) == (200, "stepwell-py:v0.1.0")
    assert decoded(response) == {
        "function_count": 2,
        "has_event_key": False,
        "has_signing_key": False,
        "has_signing_key_fallback": False,
        "mode": "dev",
        "schema_version": "2024-05-24",
    }


async def test_a_signed_request_sees_the_hashes_of_the_keys(is_sync: bool) -> None:
    response = await respond_by(production().handler, request("GET", key=KEY), is_sync=is_sync)

    found = decoded(response)
    assert response.status == 200
    assert found["authentication_succeeded"] is True
    assert (found["app_id"], found["mode"], found["function_count"]) == ("acme", "cloud", 2)
    assert found["signing_key_hash"] == hashed_key(KEY)
    assert found["signing_key_fallback_hash"] == hashed_key(OLD_KEY)
    assert found["event_key_hash"] == hashlib.sha256(b"evt").hexdigest()
    assert KEY not in response.body.decode()
    assert verify([KEY], response.body, response.headers[headers.SIGNATURE], NOW_S) == KEY


# Registration --------------------------------------------------------------------------------------------------------


async def test_a_put_registers_the_app_and_answers_what_the_server_says(is_sync: bool) -> None:
    api = PretendHttp(httpx2.Response(200, json={"ok": True, "modified": True}))
    sw = app_with(api)

    response = await respond_by(
        sw.handler, request("PUT", "?deployId=d%201", x_inngest_server_kind="dev"), is_sync=is_sync
    )

    assert (response.status, decoded(response)) == (200, {"ok": True, "modified": True})
    assert response.headers[headers.SYNC_KIND] == "out_of_band"
    sent = api.requests[0]
    assert (sent.method, str(sent.url)) == ("POST", "http://server.test:8288/fn/register?deployId=d%201")
    assert sent.headers[headers.SDK] == "stepwell-py:v0.1.0"
    assert sent.headers[headers.EXPECTED_SERVER_KIND] == "dev"
    assert "authorization" not in sent.headers
    sync = read_sync(sent.content)
    assert (sync.appname, sync.url, sync.deploytype, sync.framework) == ("acme", SERVE_URL, "ping", "test")
    configs = [msgspec.json.decode(bytes(raw), type=FunctionConfig) for raw in sync.functions]
    assert [config.id for config in configs] == ["acme-f", "acme-f-failure"]
    assert configs[0].url == f"{SERVE_URL}?fnId=acme-f&stepId=step"


async def test_a_key_of_any_form_does_not_matter_in_dev_mode(is_sync: bool) -> None:
    api = PretendHttp(httpx2.Response(200, json={}))

    response = await respond_by(app_with(api, signing_key="not hex").handler, request("PUT"), is_sync=is_sync)

    assert response.status == 200
    assert "authorization" not in api.requests[0].headers


async def test_only_a_sync_that_changed_something_is_news(caplog: pytest.LogCaptureFixture) -> None:
    changed = httpx2.Response(200, json={"modified": True})
    api = PretendHttp(changed, httpx2.Response(200, json={"modified": False}), httpx2.Response(200, text="ok"))
    sw = app_with(api)

    with caplog.at_level("INFO", "stepwell"):
        for _ in range(3):
            await sw.handler.handle(request("PUT"))

    assert [record.message for record in caplog.records if record.name == "stepwell"] == [
        "registered 1 functions of acme at http://server.test:8288"
    ]


async def test_serve_origin_and_path_replace_the_url_of_the_request(is_sync: bool) -> None:
    api = PretendHttp(httpx2.Response(200, json={}))
    sw = app_with(api, serve_origin="https://acme.example/", serve_path="hooks/stepwell")

    await respond_by(sw.handler, request("PUT"), is_sync=is_sync)

    assert read_sync(api.requests[0].content).url == "https://acme.example/hooks/stepwell"


async def test_a_put_of_a_server_of_the_other_kind_is_refused(is_sync: bool) -> None:
    response = await respond_by(app_with().handler, request("PUT", x_inngest_server_kind="cloud"), is_sync=is_sync)

    assert (response.status, decoded(response)["code"]) == (400, "server_kind_mismatch")
    assert "set STEPWELL_DEV=1" in decoded(response)["message"]


async def test_a_refused_key_is_followed_by_the_fallback(is_sync: bool) -> None:
    api = PretendHttp(httpx2.Response(401, text="no"), httpx2.Response(200, json={"ok": True}))

    response = await respond_by(production(api).handler, request("PUT", key=KEY), is_sync=is_sync)

    assert response.status == 200
    assert [sent.headers["authorization"] for sent in api.requests] == [
        f"Bearer signkey-prod-{hashed_key(KEY)}",
        f"Bearer signkey-prod-{hashed_key(OLD_KEY)}",
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx2.Response(400, json={"error": "bad cron", "status": 400}), "HTTP 400: bad cron"),
        (httpx2.Response(401, text="who are you"), "STEPWELL_SIGNING_KEY must be the server's"),
        (httpx2.ConnectError("connection refused"), "(connection refused); set STEPWELL_URL to its URL"),
    ],
)
async def test_a_failed_registration_says_what_is_wrong(
    answer: httpx2.Response | Exception, message: str, is_sync: bool
) -> None:
    response = await respond_by(app_with(PretendHttp(answer)).handler, request("PUT"), is_sync=is_sync)

    assert (response.status, decoded(response)["code"]) == (400, "sync_failed")
    assert message in decoded(response)["message"]
    assert "http://server.test:8288" in decoded(response)["message"]


async def test_a_put_without_a_server_says_what_to_set(is_sync: bool) -> None:
    sw = production(url=None)

    response = await respond_by(sw.handler, request("PUT", key=KEY), is_sync=is_sync)

    assert (response.status, decoded(response)["code"]) == (500, "config")
    assert "set STEPWELL_URL" in decoded(response)["message"]


async def test_in_production_an_unsigned_put_is_answered_when_the_origin_is_set(is_sync: bool) -> None:
    """Otherwise whoever can send a Host header could have the app registered at a URL of theirs."""
    api = PretendHttp(httpx2.Response(200, json={}))
    sw = production(api, serve_origin="https://acme.example")

    response = await respond_by(sw.handler, request("PUT", host="evil.example"), is_sync=is_sync)

    assert response.status == 200
    assert read_sync(api.requests[0].content).url == "https://acme.example/api/stepwell"


async def test_in_production_the_configuration_may_come_in_band(is_sync: bool) -> None:
    put = request(
        "PUT",
        body=b'{"url":"https://public.example/api/stepwell"}',
        key=KEY,
        x_inngest_sync_kind="in_band",
        x_inngest_server_kind="cloud",
    )

    response = await respond_by(production().handler, put, is_sync=is_sync)

    assert (response.status, response.headers[headers.SYNC_KIND]) == (200, "in_band")
    assert verify([KEY], response.body, response.headers[headers.SIGNATURE], NOW_S) == KEY
    sync = read_sync(response.body)
    assert (sync.appname, sync.url, sync.sdk) == ("acme", "https://public.example/api/stepwell", "stepwell-py:v0.1.0")
    assert len(sync.functions) == 2
    assert decoded(response)["inspection"]["authentication_succeeded"] is True


async def test_an_in_band_put_without_a_url_is_refused(is_sync: bool) -> None:
    put = request("PUT", body=b"{}", key=KEY, x_inngest_sync_kind="in_band")

    response = await respond_by(production().handler, put, is_sync=is_sync)

    assert (response.status, decoded(response)["code"]) == (400, "invalid_body")


@pytest.mark.parametrize("is_dev", [True, False], ids=["dev", "switched off"])
async def test_an_in_band_put_falls_back_to_out_of_band(
    is_dev: bool, is_sync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_ALLOW_IN_BAND_SYNC", "0")
    api = PretendHttp(httpx2.Response(200, json={}))
    sw = app_with(api) if is_dev else production(api)

    response = await respond_by(
        sw.handler, request("PUT", body=b'{"url":"x"}', key=KEY, x_inngest_sync_kind="in_band"), is_sync=is_sync
    )

    assert (response.status, response.headers[headers.SYNC_KIND]) == (200, "out_of_band")


# Large state ---------------------------------------------------------------------------------------------------------


def large(sw: Stepwell) -> bytes:
    body = msgspec.json.decode(PretendRun(sw, "f").body())
    return msgspec.json.encode(body | {"use_api": True, "steps": {}, "events": []})


async def test_large_state_is_fetched_from_the_api(is_sync: bool) -> None:
    batch = [{"name": "a", "id": "1", "ts": 1, "data": {"n": 1}}, {"name": "a", "id": "2", "ts": 2, "data": None}]
    known = {"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8": {"data": "from the api"}}
    api = PretendHttp(httpx2.Response(200, json=batch), httpx2.Response(200, json=known))
    sw = app_with(api)

    response = await respond_by(sw.handler, request("POST", CALL, large(sw)), is_sync=is_sync)

    assert (response.status, decoded(response)) == (200, "from the api")
    assert [sent.url.path for sent in api.requests] == [
        "/v0/runs/01JABCDEFGHJKMNPQRSTVWXYZ0/batch",
        "/v0/runs/01JABCDEFGHJKMNPQRSTVWXYZ0/actions",
    ]


@pytest.mark.parametrize(
    "answer", [httpx2.Response(410, json={"error": "run is over"}), httpx2.Response(200, text="<html>")]
)
async def test_large_state_that_cannot_be_fetched_is_a_retriable_error(answer: httpx2.Response, is_sync: bool) -> None:
    sw = app_with(PretendHttp(answer))

    response = await respond_by(sw.handler, request("POST", CALL, large(sw)), is_sync=is_sync)

    assert (response.status, decoded(response)["code"]) == (500, "state_not_loaded")
    assert response.headers.get(headers.NO_RETRY) != "true"


async def test_large_state_without_a_server_says_what_to_set(is_sync: bool) -> None:
    sw = production(url=None)

    response = await respond_by(sw.handler, request("POST", CALL, large(sw), key=KEY), is_sync=is_sync)

    assert (response.status, decoded(response)["code"]) == (500, "config")
