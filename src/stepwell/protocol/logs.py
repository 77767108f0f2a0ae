"""What our SDK tells our server while user code runs: the lines that it writes, and the step that it is at.

They are ours: the reference has nothing alike.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stepwell.protocol.canonical import Json

LOGS_PATH: Final = "/v1/runs/logs"
"""Takes lines of any runs, so that a process needs one request for all that it writes at a time."""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line."""

    run_id: str
    at: int
    """Unix ms, by the app's clock."""
    message: str
    level: int = 20
    logger: str = ""
    attempt_id: str | None = None
    """The request id of the call that wrote it, without the run's."""
    attempt: int | None = None
    step_id: str | None = None
    step: str = ""
    fields: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """A JSON object."""
    is_replayed: bool = False


class Begun(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step that runs in a call which was made to find out what is next: the server doesn't know its name yet."""

    run_id: str
    attempt_id: str
    """The request id of the call, without the run's."""
    step_id: str
    step: str
    ran_ms: int
    """How long it has run by now: the clocks of app and server may differ."""
    ends_call: bool = False
    """The call ends with it; others report it, and go on."""
    input: Json = None
    """Its arguments, as people are shown them; null for none, or too many."""


class Lines(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a request with lines, in the order in which they were written, and steps that have begun."""

    lines: list[Line]
    begun: list[Begun] = []


# Made when the module is imported: see ``protocol/call.py``.
decode_lines: Final = msgspec.json.Decoder(Lines).decode


def left_out(byte_count: int) -> bytes:
    """Return what stands in place of fields that are too long."""
    return b'{"stepwell.left_out":"%d bytes of fields"}' % byte_count
