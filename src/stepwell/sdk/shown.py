"""A step's arguments as people are shown them. Nothing is computed from them: the step runs with the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from stepwell.limits import STEP_INPUT_KEPT_BYTES_MAX
from stepwell.protocol.canonical import Json
from stepwell.sdk.event import Event
from stepwell.sdk.serialise import NotSerialisable, decode, encode


def shown_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Json] | None:
    """Return arguments as JSON, those given by name as an object at the end; None where there are none, or too many.

    Of an event, which the run shows itself, only name and id are there; of what JSON can't hold, its type.
    """
    if not args and not kwargs:
        return None
    shown = [_shown(value) for value in args]
    if kwargs:
        shown.append(b"{%b}" % b",".join(b"%b:%b" % (encode(name), _shown(value)) for name, value in kwargs.items()))
    encoded = b"[%b]" % b",".join(shown)
    if len(encoded) > STEP_INPUT_KEPT_BYTES_MAX:
        return None
    return cast("list[Json]", decode(encoded))


def _shown(value: Any) -> bytes:
    if isinstance(value, Event):
        return encode({"event": value.name, "id": value.id})
    try:
        return encode(value)
    except NotSerialisable:
        return encode(f"<{type(value).__module__}.{type(value).__qualname__}>")
