"""What an event says, in one line: enough to tell it from others in a list."""

from __future__ import annotations

from typing import Final

import msgspec

from stepwell.limits import PREVIEW_CHARS_MAX

_OURS: Final = "_inngest"
"""What an invoked function's event says to the server."""


class _Said(msgspec.Struct, frozen=True):
    data: msgspec.Raw = msgspec.Raw(b"{}")


def preview(body: bytes, original: bytes | None) -> str:
    """Return the values of an event's data, such as ``total: 42, user: "ada", items: […]``, cut to ``PREVIEW_CHARS_MAX``.

    ``original`` is the data as it was sent, where the body had to round a number. Empty for an event without data.
    """
    data = original if original is not None else bytes(msgspec.json.decode(body, type=_Said).data)
    try:
        values = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return ""  # null
    line = ", ".join(f"{key}: {_short(bytes(value))}" for key, value in values.items() if key != _OURS)
    return line if len(line) <= PREVIEW_CHARS_MAX else f"{line[: PREVIEW_CHARS_MAX - 1]}…"


def _short(value: bytes) -> str:
    match value[:1]:
        case b"{":
            return "{…}" if len(value) > len(b"{}") else "{}"
        case b"[":
            return "[…]" if len(value) > len(b"[]") else "[]"
        case _:
            return value.decode()
