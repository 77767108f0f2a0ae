"""Events as users see them, and their form when they are sent (protocol 2.1)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

import msgspec

from stepwell.errors import EventError
from stepwell.limits import EVENT_BYTES_MAX, EVENT_NAME_CHARS_MAX, EVENTS_PER_REQUEST_MAX
from stepwell.protocol.call import CalledEvent
from stepwell.protocol.canonical import Json
from stepwell.protocol.event import INTERNAL_PREFIX, NULL, SentEvent
from stepwell.sdk.serialise import NotSerialisable, encode


class Event(msgspec.Struct, frozen=True):
    """An immutable fact: something happened. Handlers receive it; ``send`` takes it.

    ``id`` is the sender's id (an idempotency key: the same id starts a function once in 24 hours), or the server's.
    ``ts`` is Unix milliseconds; an event sent with a future ``ts`` starts its runs then. 0 means unset.
    """

    name: str
    data: dict[str, Json] = {}
    id: str = ""
    ts: int = 0
    user: dict[str, Json] = {}
    v: str | None = None

    @property
    def time(self) -> datetime.datetime:
        """``ts`` as an aware UTC time."""
        return datetime.datetime.fromtimestamp(self.ts / 1000, datetime.UTC)


# A struct type is made ready at its first use; threads that would do that at the same time crash (see protocol.call).
msgspec.json.Decoder(Event)

Sendable: TypeAlias = Event | Mapping[str, Json]
"""One event for ``send``: an ``Event``, or a mapping with its fields."""


def from_call(event: CalledEvent) -> Event:
    """Make a handler's event of a call's."""
    return Event(
        name=event.name,
        data=as_object(event.data),
        id=event.id,
        ts=event.ts,
        user=as_object(event.user),
        v=event.v,
    )


def from_json(value: Json) -> Event:
    """Make an event of its JSON: what is missing or null takes its default."""
    fields = {key: item for key, item in as_object(value).items() if item is not None}
    return msgspec.convert({"name": "", **fields}, Event)


def as_object(value: Json) -> dict[str, Json]:
    """Return a JSON object as it is, and an empty one for anything else."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}


def sendables(
    event: str | Sendable | Iterable[Sendable],
    data: Mapping[str, Json] | None,
    *,
    id: str | None,
    ts: int | datetime.datetime | None,
    user: Mapping[str, Json] | None,
) -> list[Event]:
    """Bring the arguments of ``send`` into one form: a name with its parts, one event, or many.

    Raises ``EventError`` for what is no event, and for parts given beside whole events.
    """
    if isinstance(event, str):
        return [Event(event, dict(data or {}), id or "", milliseconds(ts), dict(user or {}))]
    if data is not None or id is not None or ts is not None or user is not None:
        raise EventError("data, id, ts and user go with an event's name; set them in the event when you send Event(…)")
    if isinstance(event, (Event, Mapping)):
        event = [cast("Sendable", event)]
    return [_one(item, index) for index, item in enumerate(event)]


def _one(item: Sendable, index: int) -> Event:
    if isinstance(item, Event):
        return item
    try:
        return msgspec.convert(item, Event)
    except msgspec.ValidationError as error:
        raise EventError(f"event {index} of the list: {error}", path=f"$[{index}]") from None


def milliseconds(ts: int | datetime.datetime | None) -> int:
    """Return Unix ms of an instant; raise ``EventError`` for a time without a zone."""
    if ts is None or isinstance(ts, int):
        return ts or 0
    if ts.tzinfo is None:
        raise EventError(f"ts {ts!r} has no time zone; write datetime.now(UTC), say", path="$.ts")
    return round(ts.timestamp() * 1000)


def encode_events(events: list[Event]) -> bytes:
    """Encode the body of ``POST /e/{key}``; raise ``EventError`` for anything that the server would refuse."""
    if len(events) > EVENTS_PER_REQUEST_MAX:
        raise EventError(
            f"{len(events)} events are more than the {EVENTS_PER_REQUEST_MAX} of one send; send them in parts"
        )
    return msgspec.json.encode([_encoded(event, index) for index, event in enumerate(events)])


def _encoded(event: Event, index: int) -> msgspec.Raw:
    path = f"$[{index}]"
    if not event.name or len(event.name) > EVENT_NAME_CHARS_MAX:
        raise EventError(
            f"an event's name has 1 to {EVENT_NAME_CHARS_MAX} characters: {event.name!r}", path=f"{path}.name"
        )
    if event.name.lower().startswith(INTERNAL_PREFIX):
        raise EventError(
            f"event names that start with {INTERNAL_PREFIX} are reserved: {event.name!r}", path=f"{path}.name"
        )
    try:
        encoded = msgspec.json.encode(
            SentEvent(
                name=event.name,
                data=msgspec.Raw(encode(event.data)),
                id=event.id or None,
                ts=event.ts or None,
                user=msgspec.Raw(encode(event.user)) if event.user else NULL,
                v=event.v,
            )
        )
    except NotSerialisable as error:
        raise EventError(f"the event {event.name!r} can't be written as JSON: {error}", path=path) from None
    if len(encoded) > EVENT_BYTES_MAX:
        raise EventError(
            f"the event {event.name!r} has {len(encoded)} bytes; the limit is {EVENT_BYTES_MAX}: send a reference to the data",
            path=path,
        )
    return msgspec.Raw(encoded)
