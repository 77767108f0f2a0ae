"""Users' values to JSON and back: what a step returns is what a replay gives back."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from stepwell.protocol.canonical import Json


class NotSerialisable(Exception):
    """A value can't be written as JSON; the message says which type it was about."""


@runtime_checkable
class _PydanticModel(Protocol):
    def model_dump(self, *, mode: str) -> object: ...


def encode(value: object) -> bytes:
    """Write a value as JSON.

    Beside plain JSON it takes dataclasses, attrs classes, msgspec structs, pydantic models, enums, sets, datetimes,
    UUIDs, Decimals (as text) and bytes (as base64). Raises ``NotSerialisable`` for the rest.
    """
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except RecursionError:
        raise NotSerialisable("it is nested too deeply, or holds itself") from None
    except UnicodeEncodeError:
        raise NotSerialisable("a string holds a lone surrogate") from None
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise NotSerialisable(str(error)) from None


def decode(raw: bytes | msgspec.Raw) -> Json:
    """Read JSON."""
    return msgspec.json.decode(raw)


def _plain(value: object) -> object:
    if isinstance(value, _PydanticModel) and not isinstance(value, type):
        return value.model_dump(mode="json")
    kind = type(value)
    raise TypeError(f"there is no JSON for the type {kind.__module__}.{kind.__qualname__}")
