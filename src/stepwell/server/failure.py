"""What a run or an attempt failed with, read from what is stored (protocol 2.6, 4.9.4)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from stepwell.limits import ERROR_LINE_CHARS_MAX
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


_FIELD: Final = r'"%s":("(?:[^"\\]|\\.)*"?)'
_NAME: Final = re.compile(_FIELD % "name")
_MESSAGE: Final = re.compile(_FIELD % "message")


class _Stored(msgspec.Struct, frozen=True):
    name: Json = None
    message: Json = None
    stack: Json = None
    error: msgspec.Raw = _NONE


_DECODER: Final = msgspec.json.Decoder(_Stored)


def read_failure(stored: bytes) -> Failure:
    """Read an error: a standard error, one wrapped as ``{"error": …}`` by the server, or whatever an app answered."""
    try:
        return _read(stored)
    except msgspec.DecodeError:
        return Failure("Error", stored[:_EXCERPT_BYTES].decode("utf-8", "replace"))


def error_line(stored: bytes) -> str:
    """Return an error as one line, ``Name: message``, though only the beginning of what is stored may be given."""
    try:
        text = str(_read(stored))
    except msgspec.ValidationError:
        text = str(read_failure(stored))
    except msgspec.DecodeError:
        text = _cut_line(stored.decode("utf-8", "replace"))
    line = " ".join(text[: 4 * ERROR_LINE_CHARS_MAX].split())
    return line if len(line) <= ERROR_LINE_CHARS_MAX else line[: ERROR_LINE_CHARS_MAX - 1] + "…"


def _read(stored: bytes) -> Failure:
    found = _DECODER.decode(stored)
    if bytes(found.error).startswith(b"{"):
        found = _DECODER.decode(found.error)
    return Failure(
        name=found.name if isinstance(found.name, str) else "Error",
        message=found.message if isinstance(found.message, str) else "",
        stack=found.stack if isinstance(found.stack, str) else None,
    )


def _cut_line(text: str) -> str:
    """Find the name and the message in the beginning of an error."""
    name, message = (_text(found[1]) if (found := field.search(text)) else "" for field in (_NAME, _MESSAGE))
    return str(Failure(name or "Error", message)) if name or message else text


def _text(quoted: str) -> str:
    try:
        return msgspec.json.decode(quoted, type=str)
    except msgspec.DecodeError:  # cut off
        return quoted.strip('"')
