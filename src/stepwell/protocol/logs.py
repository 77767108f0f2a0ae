"""Lines that user code writes, on their way from our SDK to our server. They are ours: the reference has nothing alike."""

from __future__ import annotations

from typing import Final

import msgspec

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


class Lines(msgspec.Struct, frozen=True):
    """The body of a request with lines, in the order in which they were written."""

    lines: list[Line]


# Made when the module is imported: see ``protocol/call.py``.
decode_lines: Final = msgspec.json.Decoder(Lines).decode
