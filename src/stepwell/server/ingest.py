"""``POST /e/{key}``: events in (protocol 2). What was answered with 200 is on disk, with all that it starts."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stepwell.engine.core.model import Event
from stepwell.engine.ids import ulid_text
from stepwell.errors import EventError, StoreError
from stepwell.limits import (
    EVENT_BYTES_MAX,
    EVENT_ID_CHARS_MAX,
    EVENT_NAME_CHARS_MAX,
    EVENT_TS_MAX,
    EVENT_TS_MIN,
    EVENTS_PER_REQUEST_MAX,
    INGEST_BODY_BYTES_MAX,
)
from stepwell.protocol import headers as names
from stepwell.protocol.canonical import Canonical, NotJson, canonical, encode
from stepwell.protocol.event import INTERNAL_PREFIX, NULL, RESERVED_KEY, SendReply, SentEvent, event_body
from stepwell.protocol.ids import EnvironmentId, EventId, parse_event_id_seed, seeded_entropy
from stepwell.server.context import ApiError, Context, json_response, read_body

_decode_one: Final = msgspec.json.Decoder(SentEvent).decode
_decode_many: Final = msgspec.json.Decoder(list[SentEvent]).decode
_CORS: Final = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "3600",
}


def routes(context: Context) -> list[BaseRoute]:
    """Return the event API's routes."""

    async def post(request: Request) -> Response:
        return await _post(context, request)

    async def preflight(request: Request) -> Response:
        return Response(b"", 200, _cors(request) | _CORS)

    return [
        Route("/e/{key}", post, methods=["POST", "PUT"]),
        Route("/e/{key}", preflight, methods=["OPTIONS"]),
    ]


async def _post(context: Context, request: Request) -> Response:
    headers = _cors(request)
    if not _is_known_key(context, request.path_params["key"]):
        return json_response({"status": 401, "message": "", "error": "Event key not found"}, 401, headers)
    try:
        body = await read_body(request, INGEST_BODY_BYTES_MAX)
        seed = request.headers.get(names.EVENT_ID_SEED)
        events = read_events(
            body,
            seed=parse_event_id_seed(seed) if seed is not None else None,
            new_id=context.engine.ids,
            environment=context.engine.environment,
            now=context.engine.clock.now(),
        )
        if events:
            await context.engine.ingest(events)
    except EventError as error:
        return _refused(400, f"{error.path}: {error}", headers)
    except ApiError as error:
        return _refused(error.status, error.message, headers)
    except StoreError as error:
        return _refused(503, f"the event was not stored, send it again: {error}", headers | {"Retry-After": "1"})
    reply = SendReply(ids=[event.id for event in events], status=200)
    return json_response(msgspec.json.encode(reply), headers=headers)


def _refused(status: int, message: str, headers: dict[str, str]) -> Response:
    return json_response(SendReply(ids=[], status=status, error=message), status, headers)


def _is_known_key(context: Context, key: str) -> bool:
    if context.settings.is_dev:
        return True
    given = key.encode()
    return any([hmac.compare_digest(known.encode(), given) for known in context.settings.event_keys])


def _cors(request: Request) -> dict[str, str]:
    origin = request.headers.get("origin")
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin else {}


def read_events(
    body: bytes,
    *,
    seed: tuple[int, bytes] | None,
    new_id: Callable[[], str],
    environment: EnvironmentId,
    now: int,
) -> list[Event]:
    """Read a request's events, all or none.

    Raises ``EventError`` that names the bad event (``$[3].name``): then nothing of the request is taken.
    """
    text = body.strip()
    if not text:
        return []
    is_list = text.startswith(b"[")
    try:
        sent = _decode_many(text) if is_list else [_decode_one(text)]
    except RecursionError:
        raise EventError("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message, _, path = str(error).partition(" - at `")
        raise EventError(message, path=path.rstrip("`") or "$") from None
    if len(sent) > EVENTS_PER_REQUEST_MAX:
        raise EventError(
            f"{len(sent)} events in one request; the limit is {EVENTS_PER_REQUEST_MAX}", code="too_many_events"
        )
    events: list[Event] = []
    for number, event in enumerate(sent):
        path = f"$[{number}]" if is_list else "$"
        id = new_id() if seed is None else ulid_text(seed[0], seeded_entropy(seed[1], number + 1))
        events.append(_read_event(event, path, EventId(id), seed is not None, environment, now))
    return events


def _read_event(
    sent: SentEvent, path: str, id: EventId, is_seeded: bool, environment: EnvironmentId, now: int
) -> Event:
    if not 0 < len(sent.name) <= EVENT_NAME_CHARS_MAX:
        raise EventError(f"an event's name must have 1 to {EVENT_NAME_CHARS_MAX} characters", path=f"{path}.name")
    if sent.name.lower().startswith(INTERNAL_PREFIX):
        raise EventError(f"names that start with {INTERNAL_PREFIX!r} are the server's own", path=f"{path}.name")
    if sent.ts is not None and not EVENT_TS_MIN <= sent.ts <= EVENT_TS_MAX:
        raise EventError(
            f"ts must be Unix milliseconds between the years 1980 and 2100, not {sent.ts}", path=f"{path}.ts"
        )
    if sent.id is not None and len(sent.id) > EVENT_ID_CHARS_MAX:
        raise EventError(f"an event's id may have {EVENT_ID_CHARS_MAX} characters", path=f"{path}.id")
    data = _object(sent.data, f"{path}.data")
    user = _object(sent.user, f"{path}.user")
    meta = _object(sent.meta, f"{path}.meta")
    encoded = data.encoded
    if data.value and RESERVED_KEY in data.value:
        encoded = encode({key: value for key, value in data.value.items() if key != RESERVED_KEY})
    event_id = sent.id or id
    ts = now if sent.ts is None else sent.ts
    try:
        body = event_body(
            name=sent.name,
            id=event_id,
            ts=ts,
            data=encoded if data.value is not None else b"{}",
            user=user.encoded if user.value is not None else b"{}",
            v=sent.v,
            meta=meta.encoded if meta.value is not None else None,
        )
    except NotJson as error:
        raise EventError(str(error), path=path) from None
    if len(body) > EVENT_BYTES_MAX:
        raise EventError(
            f"the event is too large: {len(body)} bytes; the limit is {EVENT_BYTES_MAX}."
            " Store the payload elsewhere and send a reference",
            path=path,
            code="event_too_large",
        )
    return Event(
        id=id,
        environment=environment,
        name=sent.name,
        event_id=event_id,
        ts=ts,
        received_at=now,
        body=body,
        original=data.original,
        is_seeded=is_seeded,
        has_own_id=bool(sent.id),
    )


_ABSENT: Final = Canonical(b"null", None, None)


def _object(raw: msgspec.Raw, path: str) -> Canonical:
    """Bring a member that must be an object or null into canonical form."""
    if raw is NULL:
        return _ABSENT
    try:
        found = canonical(bytes(raw))
    except NotJson as error:
        raise EventError(str(error), path=path) from None
    if found.value is not None and not isinstance(found.value, dict):
        raise EventError("must be an object or null", path=path)
    return found
