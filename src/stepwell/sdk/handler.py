"""What the app answers on its serve path, free of any framework: request in, response out, sync and async.

A request is worked on by a generator that yields the requests that it needs made to the server (registration, a large
memo), and returns either the reply or what is to be executed; ``handle`` and ``handle_sync`` differ only in how they make
requests and run code.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from stepwell.errors import UsageError
from stepwell.limits import CALL_BODY_BYTES_MAX
from stepwell.protocol import headers
from stepwell.protocol.call import CallContext, decode_call, decode_events
from stepwell.protocol.canonical import NotJson, canonical
from stepwell.protocol.ops import OpCode
from stepwell.protocol.signature import sign, verify
from stepwell.sdk.assignment import Assignment, target_of
from stepwell.sdk.capture import install
from stepwell.sdk.checkpoint import Checkpoints, Pause, StaleDispatchError
from stepwell.sdk.client import Incoming, Outgoing, with_fallback_key
from stepwell.sdk.event import Event, from_call
from stepwell.sdk.function import Function, Run, Source
from stepwell.sdk.http import METHODS, Reply, Request, Response, error_reply
from stepwell.sdk.log import RunLogger
from stepwell.sdk.memo import Memo
from stepwell.sdk.outcome import Failed, Found, Outcome, Returned, code_of, describe, exc_info, is_final, retry_after
from stepwell.sdk.progress import Progress
from stepwell.sdk.registration import (
    in_band_body,
    inspection,
    public_inspection,
    register_body,
    register_path,
    serve_url,
)
from stepwell.sdk.replay import AsyncReplay
from stepwell.sdk.replay_sync import SyncReplay
from stepwell.sdk.step import Step
from stepwell.sdk.step_sync import SyncStep
from stepwell.sdk.threads import in_loop, in_thread, wait, wait_in
from stepwell.sdk.tracing import in_trace
from stepwell.sdk.version import SDK
from stepwell.sdk.writing import WRITER, Writer

if TYPE_CHECKING:
    from stepwell.sdk.app import Stepwell

REQ_VERSION: Final = "2"

log: Final = logging.getLogger("stepwell")


class _InBand(msgspec.Struct, frozen=True):
    url: str


_decode_in_band: Final = msgspec.json.Decoder(_InBand).decode
_decode_actions: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Execution(msgspec.Struct, frozen=True):
    """User code to run: all that is known of one call."""

    function: Function[Any]
    assignment: Assignment
    memo: Memo
    events: list[Event]
    key: str | None
    checkpoints: Checkpoints | None = None
    writer: Writer | None = None
    """Passes on what the code logs, where the server takes that."""
    progress: Progress | None = None
    """Has the step that runs seen, where the server takes that, and doesn't know it."""


Work: TypeAlias = Generator[Outgoing, Incoming, Reply | Execution]


class Handler:
    """The serve path of one app."""

    def __init__(self, app: Stepwell, *, now_s: Callable[[], float] = time.time) -> None:
        self._app = app
        self._now_s = now_s
        self._pause = Pause()

    async def handle(self, request: Request) -> Response:
        """Answer a request; plain handlers run in threads."""
        work = self._work(request)
        try:
            outgoing = next(work)
            while True:
                outgoing = work.send(await self._app.client.fetch(outgoing))
        except StopIteration as end:
            result: Reply | Execution = end.value
        if isinstance(result, Execution):
            with in_trace(request.headers), _watching(result):
                result = self._reply(await self._execute(result), result)
        return self._response(result, request)

    def handle_sync(self, request: Request) -> Response:
        """Answer a request and block meanwhile; async handlers run in a background loop."""
        work = self._work(request)
        try:
            outgoing = next(work)
            while True:
                outgoing = work.send(self._app.client.fetch_sync(outgoing))
        except StopIteration as end:
            result: Reply | Execution = end.value
        if isinstance(result, Execution):
            with in_trace(request.headers), _watching(result):
                if result.function.is_async:
                    outcome = in_loop(self._execute(result))
                else:
                    outcome = self._execute_sync(
                        result,
                        SyncReplay(result.assignment, result.memo, wait, result.checkpoints, result.progress),
                    )
                result = self._reply(outcome, result)
        return self._response(result, request)

    def _work(self, request: Request) -> Work:
        if request.method not in METHODS:
            return error_reply(
                405, "method_not_allowed", f"use one of {', '.join(METHODS)}", headers={"Allow": ", ".join(METHODS)}
            )
        if request.body is None:
            return error_reply(
                413,
                "body_too_large",
                f"the body has more than {CALL_BODY_BYTES_MAX} bytes: let steps return less, such as ids",
                headers={headers.NO_RETRY: "true"},
            )
        settings = self._app.settings
        key = self._verified(request, request.body)
        if not settings.is_dev and not settings.signing_keys and request.method != "GET":
            message = (
                "the app is in production mode (the default) and has no signing key: set STEPWELL_SIGNING_KEY to the"
                " server's, or STEPWELL_DEV=1 to use a local dev server"
            )
            log.error("%s", message)
            return error_reply(500, "no_signing_key", message)
        match request.method:
            case "GET":
                return self._introspect(request, key)
            case "PUT":
                return (yield from self._register(request, key))
            case _:
                return (yield from self._call(request, request.body, key))

    def _verified(self, request: Request, body: bytes) -> str | None:
        """Return the key that signed the request, or None."""
        keys, header, now_s = self._app.settings.signing_keys, request.header(headers.SIGNATURE), int(self._now_s())
        if not keys or header is None:
            return None
        key = verify(keys, body, header, now_s)
        if key is None and body:
            # The signature is over the canonical form (protocol 5.1); a proxy may have written the same JSON otherwise.
            try:
                key = verify(keys, canonical(body).encoded, header, now_s)
            except NotJson:
                return None
        return key

    def _introspect(self, request: Request, key: str | None) -> Reply:
        app = self._app
        if key is not None:
            body = inspection(app.id, app.functions, request.framework, app.settings)
            return Reply(200, msgspec.json.encode(body), key=key)
        if not app.settings.is_dev:
            return _unauthorized()
        return Reply(200, msgspec.json.encode(public_inspection(app.functions, app.settings)))

    def _register(self, request: Request, key: str | None) -> Work:
        app, settings = self._app, self._app.settings
        kind = request.header(headers.SERVER_KIND)
        if kind is not None and kind != settings.mode:
            return error_reply(
                400,
                "server_kind_mismatch",
                f"the server is in {kind} mode and the app in {settings.mode} mode:"
                " set STEPWELL_DEV=1 for a dev server, STEPWELL_DEV=0 for one in production",
            )
        # The URL that is registered comes from the request, so in production only the server may ask for it.
        if not settings.is_dev and key is None and settings.serve_origin is None:
            return _unauthorized("; an unsigned PUT is only answered when STEPWELL_SERVE_ORIGIN is set")
        if request.header(headers.SYNC_KIND) == headers.SYNC_IN_BAND and settings.has_in_band_sync and key is not None:
            return self._register_in_band(request, key)
        url = serve_url(settings, request.url)
        body = register_body(app.id, app.functions, url, request.framework)
        extra = {headers.FRAMEWORK: request.framework, headers.SYNC_KIND: headers.SYNC_OUT_OF_BAND}
        if kind is not None:
            extra[headers.EXPECTED_SERVER_KIND] = kind
        path = register_path(request.query("deployId"))
        try:
            answer = yield from with_fallback_key(app.client.api_requests("POST", path, body=body, extra=extra))
        except UsageError as error:
            return error_reply(500, code_of(error), str(error))
        sync = {headers.SYNC_KIND: headers.SYNC_OUT_OF_BAND}
        if answer.is_ok:
            # Dev servers sync every few seconds; only what changed is news.
            level = logging.INFO if answer.field("modified") is True else logging.DEBUG
            log.log(level, "registered %d functions of %s at %s", len(app.functions), app.id, settings.api_origin)
            return Reply(200, answer.body, sync, key)
        message = _sync_failure(answer, settings.api_origin or "", url)
        log.error("%s", message)
        # Status 400 even for a server that wasn't reached: servers show the message of no other (protocol 3.8).
        return error_reply(400, "sync_failed", message, headers=sync)

    def _register_in_band(self, request: Request, key: str) -> Reply:
        app, settings = self._app, self._app.settings
        try:
            given = _decode_in_band(request.body or b"").url
        except msgspec.DecodeError as error:
            return error_reply(400, "invalid_body", f'an in-band PUT has a body like {{"url": …}}: {error}')
        body = in_band_body(app.id, app.functions, serve_url(settings, given), request.framework, settings)
        return Reply(200, body, {headers.SYNC_KIND: headers.SYNC_IN_BAND}, key)

    def _call(self, request: Request, body: bytes, key: str | None) -> Work:
        app = self._app
        if not app.settings.is_dev and key is None:
            return _unauthorized()
        if request.query("probe") == "trust":
            return Reply(200, b"null", key=key)
        slug = request.query("fnId")
        function = app.find(slug)
        if function is None:
            known = ", ".join(sorted(app.slugs())) or "none"
            return error_reply(500, "function_not_found", f"app {app.id!r} has no function {slug!r}; it has: {known}")
        try:
            call = decode_call(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return error_reply(400, "invalid_body", f"the body is no call: {error}")
        events, steps = call.events or ([call.event] if call.event is not None else []), call.steps
        if call.use_api:
            for what, decode in (("batch", decode_events), ("actions", _decode_actions)):
                path = f"/v0/runs/{call.ctx.run_id}/{what}"
                try:
                    answer = yield from with_fallback_key(app.client.api_requests("GET", path))
                except UsageError as error:
                    return error_reply(500, code_of(error), str(error))
                if not answer.is_ok:
                    message = f"GET {path} failed with HTTP {answer.status}: {answer.text()}"
                    return error_reply(500, "state_not_loaded", message, headers={headers.NO_RETRY: "false"})
                try:
                    value: Any = decode(answer.body)
                except msgspec.DecodeError as error:
                    return error_reply(500, "state_not_loaded", f"GET {path}: {error}")
                if what == "batch":
                    events = value
                else:
                    steps = value
        ctx = call.ctx
        stack = ctx.stack.stack if ctx.stack is not None else None
        try:
            memo = Memo(steps, stack or [])
        except (msgspec.DecodeError, RecursionError) as error:
            return error_reply(400, "invalid_body", f"the memo can't be read: {error}")
        assignment = Assignment(
            function_id=function.slug,
            run_id=ctx.run_id,
            attempt=ctx.attempt,
            max_attempts=ctx.max_attempts,
            target=target_of(request.query("stepId") or request.header(headers.STEP_ID) or ""),
            plans_only=ctx.disable_immediate_execution,
        )
        checkpoints = self._checkpoints(function, assignment, ctx)
        attempt_id = ctx.request_id.removeprefix(f"{ctx.run_id}.")
        writer = progress = None
        if request.header(headers.STEPWELL) is not None and app.settings.api_origin is not None:
            writer = self._writer(assignment, memo, attempt_id)
            if assignment.target is None and attempt_id:
                progress = Progress(app.courier, assignment, attempt_id, ends_call=checkpoints is None)
        return Execution(
            function,
            assignment,
            memo,
            [from_call(event) for event in events],
            key,
            checkpoints,
            writer,
            progress,
        )

    def _writer(self, assignment: Assignment, memo: Memo, attempt_id: str) -> Writer | None:
        """Return what takes the lines of this call."""
        settings = self._app.settings
        if not (settings.captures_logs or settings.captures_prints):
            return None
        install(logs=settings.captures_logs, prints=settings.captures_prints)
        return Writer(
            self._app.courier,
            assignment,
            memo,
            attempt_id,
            takes_logs=settings.captures_logs,
            takes_prints=settings.captures_prints,
        )

    def _checkpoints(self, function: Function[Any], assignment: Assignment, context: CallContext) -> Checkpoints | None:
        """Return what lets this call go on after a step, where that is allowed and possible (protocol 7.1, 7.3)."""
        app = self._app
        is_on = app.checkpoint if function.checkpoint is None else function.checkpoint
        is_addressed = bool(context.fn_id and context.qi_id) and app.settings.api_origin is not None
        is_first = assignment.target is None and assignment.attempt == 0 and not assignment.plans_only
        if not (is_on and is_addressed and is_first) or self._pause.is_on:
            return None
        max_runtime_ms = app.max_runtime_ms if function.max_runtime_ms is None else function.max_runtime_ms
        return Checkpoints(app.client, context, self._pause, max_runtime_s=max_runtime_ms / 1000)

    async def _execute(self, execution: Execution) -> Outcome:
        function, assignment = execution.function, execution.assignment
        if not function.is_async:
            loop = asyncio.get_running_loop()
            wait_here = functools.partial(wait_in, loop)
            replay = SyncReplay(assignment, execution.memo, wait_here, execution.checkpoints, execution.progress)
            return await in_thread(self._execute_sync, execution, replay)
        async_replay = AsyncReplay(assignment, execution.memo, in_thread, execution.checkpoints, execution.progress)
        step = Step(async_replay, self._app.client, execution.events)
        return await async_replay.run(lambda: function.call(self._values(execution, step)))

    def _execute_sync(self, execution: Execution, replay: SyncReplay) -> Outcome:
        step = SyncStep(replay, self._app.client, execution.events)
        return replay.run(lambda: execution.function.call(self._values(execution, step)))

    def _values(self, execution: Execution, step: Step | SyncStep) -> dict[Source, object]:
        function, assignment = execution.function, execution.assignment
        events, failure = function.unwrap(execution.events)
        return {
            "event": events[0] if events else Event(""),
            "events": events,
            "step": step,
            "run": Run(assignment.run_id, function.slug, assignment.attempt, assignment.max_attempts),
            "attempt": assignment.attempt,
            "logger": RunLogger(self._app.logger, assignment, execution.memo),
            "error": failure,
        }

    def _reply(self, outcome: Outcome, execution: Execution) -> Reply:
        match outcome:
            case Returned(body):
                return Reply(200, body, key=execution.key)
            case Found(ops, error):
                extra = {} if error is None else _retry_headers(error)
                if ops and ops[0].code is OpCode.STEP_FAILED:
                    extra = {headers.NO_RETRY: "true"}
                return Reply(206, msgspec.json.encode(ops), extra, execution.key)
            case Failed(error, code):
                self._log_failure(error, execution)
                body = {"code": code or code_of(error), **describe(error)}
                status = 400 if is_final(error) else 500
                return Reply(status, msgspec.json.encode(body), _retry_headers(error), execution.key)

    def _log_failure(self, error: BaseException, execution: Execution) -> None:
        assignment = execution.assignment
        if isinstance(error, StaleDispatchError):
            log.info("function %s stopped: %s", assignment.function_id, error)
            return
        log.error(
            "function %s failed (run %s, attempt %d)",
            assignment.function_id,
            assignment.run_id,
            assignment.attempt,
            exc_info=exc_info(error),
        )

    def _response(self, reply: Reply, request: Request) -> Response:
        """Add the headers that all answers have, and the signature over the bytes as they are sent (protocol 5.3)."""
        settings = self._app.settings
        found = {"Content-Type": "application/json", headers.SDK_HANDLED: "true"}
        if not reply.is_anonymous:
            found |= {
                headers.SDK: SDK,
                headers.FRAMEWORK: request.framework,
                headers.REQ_VERSION: REQ_VERSION,
                headers.EXPECTED_SERVER_KIND: settings.mode,
            }
            if settings.env is not None:
                found[headers.ENV] = settings.env
        if reply.key is not None and not settings.is_dev:
            found[headers.SIGNATURE] = sign(reply.key, reply.body, int(self._now_s()))
        return Response(reply.status, found | reply.headers, reply.body)


@contextlib.contextmanager
def _watching(execution: Execution) -> Generator[None]:
    """Pass on what is logged and printed within, and which step runs."""
    writer, progress = execution.writer, execution.progress
    token = WRITER.set(writer) if writer is not None else None
    try:
        yield
    finally:
        if writer is not None and token is not None:
            WRITER.reset(token)
            writer.close()
        if progress is not None:
            progress.close()


def _retry_headers(error: BaseException) -> dict[str, str]:
    if is_final(error):
        return {headers.NO_RETRY: "true"}
    after = retry_after(error)
    return {headers.NO_RETRY: "false"} | ({headers.RETRY_AFTER: after} if after is not None else {})


def _unauthorized(hint: str = "") -> Reply:
    body = {"code": "sig_verification_failed", "message": f"Unauthorized{hint}"}
    return Reply(401, msgspec.json.encode(body), is_anonymous=True)


def _sync_failure(answer: Incoming, origin: str, url: str) -> str:
    if answer.status == 0:
        return f"the app can't reach the server at {origin} to register ({answer.text()}); set STEPWELL_URL to its URL"
    hint = "; STEPWELL_SIGNING_KEY must be the server's" if answer.status in (401, 403) else ""
    return f"the server at {origin} refused to register the app at {url}: HTTP {answer.status}: {answer.text()}{hint}"
