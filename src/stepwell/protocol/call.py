"""The execution call (protocol 4.2): written by the server by joining canonical bytes, read by the SDK as structs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from stepwell.protocol.canonical import Json, encode_text


class Stack(msgspec.Struct, frozen=True):
    """The order in which steps were completed."""

    stack: list[str] | None = None
    current: int = 0


class CallContext(msgspec.Struct, frozen=True):
    """``ctx`` of a call, as the SDK reads it."""

    run_id: str
    attempt: int = 0
    max_attempts: int | None = None
    stack: Stack | None = None
    disable_immediate_execution: bool = False
    env: str = ""
    fn_id: str = ""
    qi_id: str = ""
    job_id: str = ""
    request_id: str = ""
    generation_id: int | None = None


class CalledEvent(msgspec.Struct, frozen=True):
    """An event in a call, as the SDK reads it."""

    name: str
    id: str = ""
    ts: int = 0
    data: Json = None
    user: Json = None
    v: str | None = None


class Call(msgspec.Struct, frozen=True):
    """The body of a call, as the SDK reads it. ``steps`` is the memo (protocol 4.4), undecoded."""

    ctx: CallContext
    event: CalledEvent | None = None
    events: list[CalledEvent] | None = None
    steps: dict[str, msgspec.Raw] = {}
    use_api: bool = False
    version: int = -1


# msgspec makes a struct type ready at its first use, and two threads that do that at once crash the process (seen with
# 0.22). The threads of a WSGI server would, with an app's first calls: so decoders are made when a module is imported.
decode_call: Final = msgspec.json.Decoder(Call).decode
decode_events: Final = msgspec.json.Decoder(list[CalledEvent]).decode


def call_body(
    *,
    run_id: str,
    function_id: str,
    job_id: str,
    request_id: str,
    generation: int,
    attempt: int,
    max_attempts: int,
    environment: str,
    version: int,
    disable_immediate_execution: bool,
    stack: Sequence[str],
    stack_current: int,
    event: bytes,
    events: Sequence[bytes],
    memo: Iterable[bytes],
    use_api: bool,
) -> bytes:
    """Join the body of a call in JCS form from canonical pieces.

    ``memo`` is the sorted ``"<step id>":<value>`` members of ``steps``; with ``use_api`` it is left out and the SDK
    fetches it (protocol 4.3). SDKs checkpoint because ``ctx.fn_id`` and ``ctx.qi_id`` are there (protocol 7.1).
    """
    is_api = b"true" if use_api else b"false"
    job = encode_text(job_id)
    return b"".join(
        (
            b'{"ctx":{"attempt":%d,"disable_immediate_execution":' % attempt,
            b"true" if disable_immediate_execution else b"false",
            b',"env":',
            encode_text(environment),
            b',"fn_id":',
            encode_text(function_id),
            b',"generation_id":%d,"job_id":' % generation,
            job,
            b',"max_attempts":%d,"qi_id":' % max_attempts,
            job,
            b',"request_id":',
            encode_text(request_id),
            b',"run_id":',
            encode_text(run_id),
            b',"stack":{"current":%d,"stack":' % stack_current,
            b'["' + '","'.join(stack).encode() + b'"]' if stack else b"[]",
            b'},"step_id":"step","use_api":',
            is_api,
            b'},"event":',
            event,
            b',"events":[',
            b",".join(events),
            b'],"steps":{',
            b"" if use_api else b",".join(memo),
            b'},"use_api":',
            is_api,
            b',"version":%d}' % version,
        )
    )
