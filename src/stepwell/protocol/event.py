"""Events on the wire: what senders post (protocol 2.1) and the form in which a call carries them (4.2)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from stepwell.protocol.canonical import encode_text

INTERNAL_PREFIX: Final = "inngest/"
FINISHED: Final = "inngest/function.finished"
FAILED: Final = "inngest/function.failed"
CANCELLED: Final = "inngest/function.cancelled"
INVOKED: Final = "inngest/function.invoked"
TIMER: Final = "inngest/scheduled.timer"

RESERVED_KEY: Final = "_inngest"
"""The key of ``data`` that only the server may set (protocol 2.1)."""

NULL: Final = msgspec.Raw(b"null")
EMPTY_OBJECT: Final = msgspec.Raw(b"{}")


class SentEvent(msgspec.Struct, omit_defaults=True):
    """An event as a sender posts it. ``data``, ``user`` and ``meta`` stay undecoded JSON, ``null`` when absent."""

    name: str
    data: msgspec.Raw = NULL
    id: str | None = None
    ts: int | None = None
    user: msgspec.Raw = NULL
    v: str | None = None
    meta: msgspec.Raw = NULL


def event_body(
    *,
    name: str,
    id: str,
    ts: int,
    data: bytes,
    user: bytes = b"{}",
    v: str | None = None,
    meta: bytes | None = None,
) -> bytes:
    """Join the canonical form of an event from canonical pieces (keys in JCS order)."""
    return b"".join(
        (
            b'{"data":',
            data,
            b',"id":',
            encode_text(id),
            b',"meta":' + meta if meta is not None else b"",
            b',"name":',
            _encode_name(name),
            b',"ts":%d,"user":' % ts,
            user,
            b',"v":' + encode_text(v) if v is not None else b"",
            b"}",
        )
    )


_encode_name = lru_cache(maxsize=1024)(encode_text)


class SendReply(msgspec.Struct, omit_defaults=True):
    """The answer to ``POST /e/{key}``: internal ids in request order."""

    ids: list[str]
    status: int = msgspec.field(default=0)
    error: str | None = None
