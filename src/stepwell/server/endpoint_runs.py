"""Runs of durable endpoints (protocol 7.4): they begin in the app, report here, and their output is fetched here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stepwell.engine.clock import real_ms
from stepwell.engine.core.endpoint import endpoint_config, endpoint_slug, is_endpoint, request_data
from stepwell.engine.core.model import App, Function, Run, RunStatus
from stepwell.engine.core.registration import plan_sync
from stepwell.engine.core.trigger import Registry
from stepwell.engine.engine import CheckpointVerdict
from stepwell.errors import FunctionConfigError
from stepwell.limits import (
    ENDPOINT_WAIT_S_MAX,
    EVENT_BYTES_MAX,
    FUNCTIONS_PER_APP_MAX,
    OPS_PER_REPLY_MAX,
    REPLY_BYTES_MAX,
    RETRIES_DEFAULT,
    STEP_OUTPUT_BYTES_MAX,
)
from stepwell.protocol.canonical import Json, NotJson, decode
from stepwell.protocol.endpoint import (
    ENDPOINT,
    HTTP_REQUEST,
    HttpRequest,
    StartedRun,
    decode_progress,
    decode_request,
    decode_started,
)
from stepwell.protocol.ids import RunId
from stepwell.protocol.ops import Op
from stepwell.protocol.sync import SyncBody
from stepwell.server.api.page import is_ulid
from stepwell.server.context import ApiError, Context, json_response, read_body
from stepwell.server.token import is_token_for, make_token, token_secret
from stepwell.store.request import SyncRequest

_OUTPUT: Final = "output"
_REALTIME: Final = "realtime"
_VERSIONS: Final = (0, 1, 2)
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_OF_THE_CONNECTION: Final = frozenset(
    ("connection", "content-encoding", "content-length", "date", "keep-alive", "transfer-encoding")
)
"""Headers of a stored answer that were about how it was sent."""


async def post_run(context: Context, request: Request) -> Response:
    """Take in a run that has begun in the app, with what it has done."""
    started = _decode_started(await read_body(request, REPLY_BYTES_MAX))
    _check_id(started.run_id)
    _check_steps(started.steps)
    data, http = _read_event(started)
    run_id = RunId(started.run_id)
    retries = RETRIES_DEFAULT if started.retries is None or started.retries < 0 else started.retries
    try:
        function = await _function(context, http, retries)
    except FunctionConfigError as error:
        raise ApiError(400, error.code, f"the endpoint can't be registered: {error}") from None
    if not await context.engine.begin_in_app(run_id, data, function) and not await _is_bare(context, started, function):
        raise ApiError(409, "run_exists", f"there is a run with the id {run_id} already")
    version = started.request_version if started.request_version in _VERSIONS else _VERSIONS[-1]
    await _report(context, run_id, started.steps, version)
    secret, environment = await token_secret(context.engine.store), context.engine.environment
    token, realtime = (
        make_token(secret, audience, environment, run_id, now_s=real_ms() // 1000) for audience in (_OUTPUT, _REALTIME)
    )
    answer = {
        "fn_id": function.id,
        "app_id": function.app_id,
        "run_id": run_id,
        "token": token,
        "realtime_token": realtime,
    }
    return json_response({"data": answer, "metadata": {}})


async def post_steps(context: Context, request: Request) -> Response:
    """Take in what a run has done since."""
    id: str = request.path_params["id"]
    _check_id(id)
    try:
        progress = decode_progress(await read_body(request, REPLY_BYTES_MAX))
    except RecursionError:
        raise ApiError(400, "invalid_json", "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "invalid_body", f"the body is no checkpoint: {error}") from None
    if progress.run_id != id:
        raise ApiError(400, "invalid_body", f"the path names the run {id}, the body {progress.run_id[:100]!r}")
    _check_steps(progress.steps)
    await _report(context, RunId(id), progress.steps)
    return json_response({"data": {"run_id": id}, "metadata": {}})


async def get_output(context: Context, request: Request) -> Response:
    """Answer with what the endpoint answered, once its run is over. The token stands for the bearer."""
    id: str = request.path_params["id"]
    engine = context.engine
    secret = await token_secret(engine.store)
    token = request.query_params.get("token", "")
    if not is_token_for(token, secret, _OUTPUT, engine.environment, id, now_s=real_ms() // 1000):
        raise ApiError(401, "invalid_token", "the token is not for the output of this run, or its hour is over")
    run_id = RunId(id)
    run = await _run(context, run_id)
    if not run.status.is_final and await engine.endings.wait(run_id, ENDPOINT_WAIT_S_MAX):
        run = await _run(context, run_id)
    if not run.status.is_final:
        minutes = round(ENDPOINT_WAIT_S_MAX / 60)
        return json_response({"status": "running", "message": f"run did not end within {minutes} minutes"})
    return _output(run)


async def _run(context: Context, run_id: RunId) -> Run:
    detail = await context.engine.store.load_run(run_id)
    if detail is None:
        raise ApiError(404, "run_not_found", "run not found")
    return detail.run


def _output(run: Run) -> Response:
    """Make the answer that a run's output describes, or show the output as it is."""
    output = run.output or b"null"
    value: Json = decode(output)
    match value:
        case {"data": {"status": int(), "body": str()} as wrapped}:  # Go does so
            value = wrapped
        case _:
            pass
    match value:
        case {"status": int(status), "body": str(body)} if 200 <= status <= 599:
            response = Response(body, status, _headers(value.get("headers")))
            # A page of the app mustn't do here what pages of this server may.
            response.headers.append("Content-Security-Policy", "sandbox allow-forms allow-popups allow-scripts")
            return response
        case _:
            return json_response(output, 200 if run.status is RunStatus.COMPLETED else 500)


def _headers(stored: Json) -> dict[str, str]:
    fields = cast("Mapping[str, Any]", stored if isinstance(stored, dict) else {})
    return {
        name: value
        for name, value in fields.items()
        if isinstance(value, str) and name.lower() not in _OF_THE_CONNECTION and _is_plain(name + value)
    }


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _decode_started(body: bytes) -> StartedRun:
    try:
        return decode_started(body)
    except RecursionError:
        raise ApiError(400, "invalid_json", "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "invalid_body", f"the body is no run: {error}") from None


def _check_id(id: str) -> None:
    if not is_ulid(id):
        raise ApiError(400, "invalid_id", f"not a run id: {id[:100]!r}")


def _check_steps(steps: Sequence[Op]) -> None:
    if len(steps) > OPS_PER_REPLY_MAX:
        raise ApiError(413, "too_many_steps", f"{len(steps)} steps; the limit is {OPS_PER_REPLY_MAX}")
    for op in steps:
        if len(bytes(op.data)) > STEP_OUTPUT_BYTES_MAX:
            raise ApiError(
                413,
                "output_too_large",
                f"the output of step {op.title!r} has {len(bytes(op.data))} bytes; the limit is {STEP_OUTPUT_BYTES_MAX}",
            )


def _read_event(started: StartedRun) -> tuple[bytes, HttpRequest]:
    """Return the event's data in canonical form, and the request in it."""
    if started.event.name != HTTP_REQUEST:
        raise ApiError(400, "invalid_event", f"such a run begins with the event {HTTP_REQUEST!r}", path="$.event.name")
    try:
        data = request_data(bytes(started.event.data))
        http = decode_request(data)
    except (NotJson, msgspec.DecodeError) as error:
        raise ApiError(400, "invalid_event", f"the event holds no request: {error}", path="$.event.data") from None
    if len(data) > EVENT_BYTES_MAX:
        raise ApiError(413, "event_too_large", f"the event has {len(data)} bytes; the limit is {EVENT_BYTES_MAX}")
    try:
        parts = urlsplit(http.domain)
        is_domain = http.domain in (f"http://{parts.netloc}", f"https://{parts.netloc}") and bool(parts.hostname)
        is_domain &= "@" not in parts.netloc  # it is shown to people
    except ValueError:
        is_domain = False
    if not is_domain or not http.path.startswith("/") or _METHOD.fullmatch(http.method) is None:
        raise ApiError(
            400,
            "invalid_event",
            "the request needs a domain such as https://api.example.com, a path that begins with a slash, and a method",
            path="$.event.data",
        )
    return data, http


async def _function(context: Context, request: HttpRequest, retries: int) -> Function:
    """Return a request's function, which is made on first use, and again when its retries have changed.

    Raises ``FunctionConfigError`` for one that can't be made.
    """
    slug = endpoint_slug(request)

    def find(registry: Registry) -> Function | None:
        known = registry.by_slug.get(slug)
        is_same = known is not None and is_endpoint(known) and known.max_attempts == retries + 1
        return known if is_same else None

    def plan(registry: Registry, apps: Sequence[App], now: int) -> SyncRequest | None:
        if find(registry) is not None:
            return None
        config = msgspec.Raw(msgspec.json.encode(endpoint_config(request, retries)))
        body = SyncBody(url=request.domain, appname=request.domain, functions=[config], framework=ENDPOINT)
        made = plan_sync(body, registry, apps, now=now)
        others = sum(other.app_id == made.app.id and other.slug != slug for other in registry.by_slug.values())
        if others >= FUNCTIONS_PER_APP_MAX:
            raise FunctionConfigError(
                f"{request.domain} has {others} endpoints, which is the limit:"
                " give those whose paths hold ids one name (functionId)"
            )
        return SyncRequest(made.app, registry.revision, made.changes, (), now)

    function = find(context.engine.registry)
    if function is None:
        await context.engine.sync(plan)
        function = context.engine.registry.by_slug[slug]
    return function


async def _is_bare(context: Context, started: StartedRun, function: Function) -> bool:
    """Tell whether a run has only begun: the server broke off when it had stored that, and the app says it all again."""
    run_id = RunId(started.run_id)
    state = (await context.engine.store.load_runs([run_id])).get(run_id)
    is_new = state is not None and state.run.function_id == function.id and state.run.version == 0
    return is_new and bool(started.steps)


async def _report(context: Context, run_id: RunId, steps: Sequence[Op], request_version: int = 2) -> None:
    match await context.engine.report(run_id, steps, request_version=request_version):
        case CheckpointVerdict.COMMITTED:
            pass
        case CheckpointVerdict.STALE:
            raise ApiError(409, "stale_dispatch", "this run began at the server, which calls the app for it")
        case CheckpointVerdict.GONE:
            raise ApiError(404, "run_not_found", "there is no such run, or it has ended")
