"""``POST /e/{key}``: events in (protocol 2). What was answered with 200 is on disk, with all that it starts."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

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
from stepwell.server.context import ApiError, Context, kind_header, receive_body

_decode_one: Final = msgspec.json.Decoder(SentEvent).decode
_decode_many: Final = msgspec.json.Decoder(list[SentEvent]).decode
_PREFIX: Final = "/e/"
_SEED: Final = names.EVENT_ID_SEED.lower().encode()
_JSON: Final = (b"content-type", b"application/json")
_CORS: Final = [
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"3600"),
]


class EventApi:
    """The event API as a plain ASGI application: the one hot route, so it goes around the router and its layers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kind = kind_header(context)

    @staticmethod
    def serves(scope: Scope) -> bool:
        """Tell whether a request is for the event API."""
        return scope["type"] == "http" and scope["path"].startswith(_PREFIX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        status, body = 200, b""
        answer_headers: list[tuple[bytes, bytes]] = [_JSON, self._kind]
        if origin is not None:
            answer_headers += [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        match scope["method"]:
            case "POST" | "PUT":
                status, body = await self._post(scope["path"][len(_PREFIX) :], headers, receive)
                if status == 503:
                    answer_headers.append((b"retry-after", b"1"))
            case "OPTIONS":
                answer_headers += _CORS
            case method:
                status, body = _refused(405, f"events are sent by POST, not {method}")
        answer_headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": body})

    async def _post(self, key: str, headers: dict[bytes, bytes], receive: Receive) -> tuple[int, bytes]:
        if not _is_known_key(self._context, key):
            return 401, b'{"status":401,"message":"","error":"Event key not found"}'
        engine = self._context.engine
        seed = headers.get(_SEED)
        try:
            body = await receive_body(receive, headers.get(b"content-length"), INGEST_BODY_BYTES_MAX)
            events = read_events(
                body,
                seed=_read_seed(seed, engine.clock.offset_ms) if seed is not None else None,
                new_id=engine.ids,
                environment=engine.environment,
                now=engine.clock.now(),
            )
            if events:
                await engine.ingest(events)
        except EventError as error:
            return _refused(400, f"{error.path}: {error}")
        except ApiError as error:
            return _refused(error.status, error.message)
        except StoreError as error:
            return _refused(503, f"the event was not stored, send it again: {error}")
        return 200, msgspec.json.encode(SendReply(ids=[event.id for event in events], status=200))


def _refused(status: int, message: str) -> tuple[int, bytes]:
    return status, msgspec.json.encode(SendReply(ids=[], status=status, error=message))


def _read_seed(value: bytes, offset_ms: int) -> tuple[int, bytes] | None:
    """Read the sender's seed. No sender knows of time travel: ids without it would be older than what happened before."""
    return parse_event_id_seed(value.decode("latin-1"), ahead_ms=offset_ms)


def _is_known_key(context: Context, key: str) -> bool:
    if context.settings.is_dev:
        return True
    given = key.encode()
    return any(hmac.compare_digest(known.encode(), given) for known in context.settings.event_keys)


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
    for field, text in (("name", sent.name), ("id", sent.id)):
        if text is not None and "\0" in text:
            raise EventError("may not have the character U+0000", path=f"{path}.{field}")
    if sent.name[: len(INTERNAL_PREFIX)].lower() == INTERNAL_PREFIX:
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
