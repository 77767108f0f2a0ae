"""What the first request builds. msgspec (0.22) makes a struct type ready at its first use, and crashes the process when
two threads do that at once, as those of a WSGI server may: so the SDK's types must be ready when it is imported."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import json

import httpx2
import msgspec._utils

from stepwell import Event, Failure, Stepwell, SyncStep
from stepwell.sdk.client import Client
from stepwell.sdk.http import Request

KEY = "signkey-test-" + "5e" * 32
RUN = {"run_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "attempt": 0, "stack": {"stack": [], "current": 0}}
EVENT = {"name": "a", "data": {"n": 1}, "id": "1", "ts": 1, "user": {}}
FAILED = {"name": "inngest/function.failed", "data": {"event": EVENT, "error": {"name": "E", "message": "m"}}}


def too_late(*_):
    raise SystemExit("msgspec made a type ready at its first use")


def answer(request):
    if request.url.path.endswith("/batch"):
        return httpx2.Response(200, json=[EVENT])
    return httpx2.Response(200, json={"ids": ["1"], "status": 200} if request.url.path.startswith("/e/") else {})


def failure(event: Event, error: Failure) -> str:
    return error.message


def handler(event: Event, step: SyncStep) -> str:
    return step.run("a", lambda: "done")


sw = Stepwell("app", is_dev=False, url="http://server", event_key="k", signing_key=KEY, serve_origin="http://app")
sw.client = Client(sw.settings, transport=httpx2.MockTransport(answer))
sw.function("f", on="a", on_failure=failure)(handler)
sw.handler._verified = lambda request, body: KEY  # signatures are made elsewhere

msgspec._utils._get_class_mro_and_typevar_mappings = too_late


def ask(method, query="", body=b"", **headers):
    request = Request(method, "http://app/api" + query, headers, body, "wsgi")
    return sw.handler.handle_sync(request).status


def call(slug, event, **fields):
    body = {"ctx": RUN, "event": event, "events": [event], "steps": {}, **fields}
    return ask("POST", f"?fnId={slug}&stepId=step", json.dumps(body).encode())


assert ask("GET") == 200
assert ask("PUT") == 200
assert ask("PUT", body=b'{"url": "http://app/api"}', **{"x-inngest-sync-kind": "in_band"}) == 200
assert call("app-f", EVENT) == 206
assert call("app-f", EVENT, use_api=True) == 206
assert call("app-f", EVENT, ctx={**RUN, "fn_id": "f", "qi_id": "q"}) == 200
assert call("app-f-failure", FAILED) == 200
assert sw.send_sync({"name": "a", "data": {}}) == ["1"]
"""


def test_all_types_are_ready_when_the_sdk_is_imported() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 0, ended.stderr
