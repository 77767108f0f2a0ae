"""Id types, step-id hashing, and ULIDs from a given time and given bytes (no clock or chance of its own)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid
from typing import Final, NewType

EnvironmentId = NewType("EnvironmentId", str)
AppId = NewType("AppId", str)
FunctionId = NewType("FunctionId", str)
EventId = NewType("EventId", str)  # the internal ULID, not the sender's id
RunId = NewType("RunId", str)
JobId = NewType("JobId", str)  # unique within its run
AttemptId = NewType("AttemptId", str)  # unique within its run; the wire's request id
ReplicaId = NewType("ReplicaId", str)
StepId = NewType("StepId", str)  # the hash that travels on the wire
SpanId = NewType("SpanId", str)  # OpenTelemetry's: 16 hexadecimal digits
LogId = NewType("LogId", str)  # a ULID of the time at which the server took it in

DISCOVER: Final = "step"
"""The ``stepId`` of a call that isn't targeted at one step (protocol 4.1)."""

COMPLETE: Final = StepId("0737c22d3bfae812339732d14d8c7dbd6dc4e09c")
"""The id of ``RunComplete``: SHA-1 of ``complete`` (protocol 4.5)."""

_ULID_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_MS_MAX: Final = (1 << 48) - 1
_NAMESPACE: Final = uuid.UUID("b4a0c7a6-9d2c-5a8e-8f3e-0d6b8f6b3c21")


def step_hash(name: str, index: int = 0) -> StepId:
    """Hash a step's name and its repeat index in the run (0 for the first use), as protocol 4.5 has it."""
    text = name if index == 0 else f"{name}:{index}"
    return StepId(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def first_ulid(at_ms: int) -> str:
    """Return the least ULID of a time; one that no ULID can have counts as the nearest that it can."""
    at_ms = max(0, min(at_ms, _ULID_MS_MAX))
    return "".join(_ULID_DIGITS[at_ms >> shift & 31] for shift in range(45, -1, -5)) + "0" * 16


def ulid_ms(id: str) -> int:
    """Return the time in a ULID, Unix ms."""
    at_ms = 0
    for digit in id[:10]:
        at_ms = at_ms << 5 | _ULID_DIGITS.index(digit)
    return at_ms


def named_uuid(*parts: str) -> str:
    """Make the same UUID for the same names, so that a second sync, or replica, finds the same app or function."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))


def parse_event_id_seed(value: str, *, ahead_ms: int = 0) -> tuple[int, bytes] | None:
    """Read ``X-Inngest-Event-Id-Seed`` (protocol 2.2): Unix ms and 10 bytes; None when it is malformed.

    ``ahead_ms`` is what the reader's clock is ahead of the sender's by.
    """
    millis, _, entropy = value.partition(",")
    try:
        at, raw = int(millis) + ahead_ms, base64.b64decode(entropy, validate=True)
    except (ValueError, binascii.Error):
        return None
    return (at, raw) if len(raw) == 10 and 0 <= at < 1 << 48 else None


def seeded_entropy(entropy: bytes, number: int) -> bytes:
    """Add the 1-based event ``number`` to the last 4 of 10 entropy bytes, read big-endian (protocol 2.2)."""
    last = (int.from_bytes(entropy[6:], "big") + number) & 0xFFFFFFFF
    return entropy[:6] + last.to_bytes(4, "big")
