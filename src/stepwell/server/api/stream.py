"""The stream of changes: server-sent events for a page that is open (``../live``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Final

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from stepwell.errors import StoreError, UsageError
from stepwell.limits import STREAM_CHECKED_S, STREAM_COMMENT_S, STREAMS_MAX
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.api.logs import LogLineView, line_view
from stepwell.server.api.page import is_ulid
from stepwell.server.auth import is_still_authenticated
from stepwell.server.context import ApiError, Context
from stepwell.server.live.changes import Topics, read_topics
from stepwell.server.live.hub import Heard

_TYPE: Final = "text/event-stream"
_RETRY_MS: Final = 1_000
_COMMENT: Final = b":\n\n"


class StreamQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a page asks to hear of."""

    topics: Annotated[
        str, msgspec.Meta(description="With commas: runs, run:<id>, events, functions, logs, logs:<run id>.")
    ] = ""
    cursor: Annotated[
        str | None, msgspec.Meta(description="Where to go on; the header Last-Event-ID says so, too.")
    ] = None


class RunChange(msgspec.Struct, frozen=True):
    """A run that was started, or of which something changed."""

    id: str
    is_new: bool


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since the message before."""

    runs: list[RunChange]
    events: list[str]
    """Events that came, or of which more became."""
    functions: bool
    """Functions were synced, paused or resumed."""
    logs: list[LogLineView]
    is_partial: bool
    """There is more than is named: all must be read again."""


class Hello(msgspec.Struct, frozen=True):
    """The first message of a stream: where it begins."""

    cursor: str


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoint of the stream."""
    return [
        Endpoint(
            "GET",
            "/api/stream",
            "Stream changes",
            Changes,
            stream_changes,
            query=StreamQuery,
            body=Nothing,
            media_type=_TYPE,
        )
    ]


async def stream_changes(call: Call[StreamQuery, Nothing]) -> Response:
    """Tell a page what changes, as server-sent events: hello, changes, reset."""
    hub = call.context.hub
    try:
        topics = read_topics(call.query.topics)
    except UsageError as error:
        raise ApiError(400, "invalid_query", str(error), path="$.topics") from None
    # Other replicas are told of them, in notifications that have room for so many ids and for nothing longer.
    bad = [id for id in topics.run_ids | topics.log_run_ids if not is_ulid(id)]
    if bad:
        raise ApiError(400, "invalid_query", f"not the id of a run: {bad[0][:100]!r}", path="$.topics")
    if hub.is_closed:
        raise ApiError(503, "stopping", "the server is stopping: connect again in a moment")
    if hub.is_full:
        raise ApiError(
            503, "too_many_streams", f"{STREAMS_MAX} streams are open, as many as a server has: close some pages"
        )
    return EventStream(call.context, topics, call.request.headers.get("last-event-id") or call.query.cursor)


class EventStream(Response):
    """An answer that goes on until the page or the server closes it."""

    media_type = _TYPE

    def __init__(self, context: Context, topics: Topics, cursor: str | None) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._context, self._topics, self._cursor = context, topics, cursor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await super().__call__(scope, receive, send)
            return
        async with aclosing(self._messages(scope)) as messages:
            await StreamingResponse(messages, headers=self.headers)(scope, receive, send)

    async def _messages(self, scope: Scope) -> AsyncGenerator[bytes]:
        page = self._context.hub.join(self._topics, self._cursor or None)
        now, access = asyncio.get_running_loop().time, self._context.access
        checked = (now(), access.change_count)
        try:
            yield f"retry: {_RETRY_MS}\n".encode() + _message("hello", page.cursor, Hello(page.cursor))
            while True:
                heard = None
                with suppress(TimeoutError):
                    async with asyncio.timeout(STREAM_COMMENT_S):
                        heard = await page.next()
                        if heard is None:
                            return
                # Before anything is told: what was revoked here ends at once, what was revoked elsewhere soon.
                if now() - checked[0] >= STREAM_CHECKED_S or access.change_count != checked[1]:
                    checked = (now(), access.change_count)
                    if not await _may_listen(scope):
                        return
                if heard is None:
                    yield _COMMENT
                else:
                    heard.text = heard.text or self._text(heard)
                    yield heard.text
        finally:
            page.leave()

    def _text(self, heard: Heard) -> bytes:
        told = heard.told
        if told is None:
            return _message("reset", heard.cursor, Hello(heard.cursor))
        changes = Changes(
            runs=[RunChange(id, is_new) for id, is_new in told.runs.items()],
            events=list(told.events),
            functions=told.has_functions,
            logs=[line_view(self._context, line) for line in told.lines],
            is_partial=told.is_partial,
        )
        return _message("changes", heard.cursor, changes)


async def _may_listen(scope: Scope) -> bool:
    """Tell whether whoever listens may still do so; while the database can't be asked, as before."""
    try:
        return await is_still_authenticated(scope)
    except StoreError:
        return True


def _message(name: str, cursor: str, data: object) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), cursor.encode(), msgspec.json.encode(data))
