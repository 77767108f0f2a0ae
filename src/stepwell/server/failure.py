"""What a run or an attempt failed with, read from what is stored (protocol 2.6, 4.9.4)."""

from __future__ import annotations

import msgspec

from stepwell.protocol.canonical import Json

_EXCERPT_BYTES: int = 1_000
_NONE = msgspec.Raw(b"null")


class Failure(msgspec.Struct, frozen=True):
    """An error: its name, its message, and the stack where the app gave one."""

    name: str
    message: str
    stack: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


class _Stored(msgspec.Struct, frozen=True):
    name: Json = None
    message: Json = None
    stack: Json = None
    error: msgspec.Raw = _NONE


def read_failure(stored: bytes) -> Failure:
    """Read an error: a standard error, one wrapped as ``{"error": …}`` by the server, or whatever an app answered."""
    try:
        found = msgspec.json.decode(stored, type=_Stored)
        if bytes(found.error).startswith(b"{"):
            found = msgspec.json.decode(found.error, type=_Stored)
    except msgspec.DecodeError:
        return Failure("Error", stored[:_EXCERPT_BYTES].decode("utf-8", "replace"))
    return Failure(
        name=found.name if isinstance(found.name, str) else "Error",
        message=found.message if isinstance(found.message, str) else "",
        stack=found.stack if isinstance(found.stack, str) else None,
    )
