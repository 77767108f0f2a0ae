"""Who writes lines now: the attempt that is under way in this context, and what becomes of a line that it writes."""

from __future__ import annotations

import contextvars
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from stepwell.limits import LOG_LINE_BYTES_MAX
from stepwell.protocol.logs import Line, left_out
from stepwell.sdk.assignment import Assignment
from stepwell.sdk.courier import Courier
from stepwell.sdk.current import RUNNING, RunningStep
from stepwell.sdk.memo import Memo
from stepwell.sdk.serialise import encode

INFO: Final = 20
PRINTED: Final = "print"
"""The logger of what was printed."""

_LEVEL_MAX: Final = 100
"""Twice ``CRITICAL``. One that JSON can't hold would cost the lines that are sent with it."""
_ANSI: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_MESSAGE_CHARS_MAX: Final = LOG_LINE_BYTES_MAX + 1  # the server cuts, and says so


class Writer:
    """The lines of one attempt, from its begin to its end."""

    def __init__(
        self,
        courier: Courier,
        assignment: Assignment,
        memo: Memo,
        attempt_id: str,
        *,
        takes_logs: bool = True,
        takes_prints: bool = True,
    ) -> None:
        self.takes_logs, self.takes_prints = takes_logs, takes_prints
        self._courier, self._memo, self._attempt_id = courier, memo, attempt_id
        self._run_id, self._attempt = assignment.run_id, assignment.attempt
        self._is_targeted = assignment.target is not None
        self._printed: dict[RunningStep | None, str] = {}
        self._is_closed = False
        self._processed: tuple[int, str] | None = None

    @property
    def run_id(self) -> str:
        """The run that it works on."""
        return self._run_id

    def write(self, message: str, *, level: int, logger: str, fields: Mapping[str, Any] | None = None) -> None:
        """Pass a line on."""
        self._pass_on(RUNNING.get(), message, level, logger, fields)

    def _pass_on(
        self, step: RunningStep | None, message: str, level: int, logger: str, fields: Mapping[str, Any] | None = None
    ) -> None:
        if self._is_closed:  # of a task that has outlived the attempt
            return
        is_replayed = step is None and (self._is_targeted or not self._memo.is_replayed)
        self._courier.take(
            Line(
                run_id=self._run_id,
                at=time.time_ns() // 1_000_000,
                message=_writable(message[:_MESSAGE_CHARS_MAX]),
                level=max(0, min(level, _LEVEL_MAX)),
                logger=_writable(logger),
                attempt_id=self._attempt_id,
                attempt=self._attempt,
                step_id=step.id if step is not None else None,
                step=_writable(step.name) if step is not None else "",
                fields=_encoded(fields) if fields else msgspec.UNSET,
                is_replayed=is_replayed,
            )
        )

    def print(self, text: str) -> None:
        """Pass on the lines of printed text; the rest waits for its end."""
        step = RUNNING.get()
        *lines, rest = (self._printed.pop(step, "") + text).split("\n")
        if len(rest) > _MESSAGE_CHARS_MAX:
            lines.append(rest)
        elif rest:
            self._printed[step] = rest
        for line in lines:
            self._print_line(step, line)

    def _print_line(self, step: RunningStep | None, line: str) -> None:
        plain = _ANSI.sub("", line.rpartition("\r")[2] or line).rstrip()
        if plain and not self.was_processed(plain):
            self._pass_on(step, plain, INFO, PRINTED)

    def processed(self, event: str) -> None:
        """Note that a line was passed on which this thread prints or logs next, in whatever form."""
        self._processed = (threading.get_ident(), event)

    def was_processed(self, text: str) -> bool:
        """Tell whether a text is such a line."""
        processed = self._processed
        if processed is None or processed[0] != threading.get_ident():
            return False
        self._processed = None
        return bool(processed[1]) and processed[1] in text

    def close(self) -> None:
        """Pass on what was printed without an end of line, and then nothing more."""
        printed, self._printed = self._printed, {}
        for step, rest in list(printed.items()):  # a thread may still be printing
            self._print_line(step, rest)
        self._is_closed = True


WRITER: Final[contextvars.ContextVar[Writer | None]] = contextvars.ContextVar("stepwell_writer", default=None)
"""The attempt whose code this is; None outside of attempts, and where lines aren't captured."""


def _writable(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can't hold."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _encoded(fields: Mapping[str, Any]) -> msgspec.Raw:
    """Write fields as JSON now, since their values may change; what JSON can't hold as its ``repr``."""
    try:
        raw = encode(dict(fields))
    except Exception:  # noqa: BLE001 - models run code of their own when they are written
        raw = encode({_writable(str(name)): _plain(value) for name, value in fields.items()})
    return msgspec.Raw(raw if len(raw) <= LOG_LINE_BYTES_MAX else left_out(len(raw)))


def _plain(value: Any) -> Any:
    try:
        encode(value)
    except Exception:  # noqa: BLE001 - see above
        return _repr(value)
    return value


def _repr(value: Any) -> str:
    try:
        return _writable(repr(value))
    except Exception as error:  # noqa: BLE001 - an object that can't be shown is no reason to fail a step
        return f"<a {type(value).__name__}, whose repr failed: {type(error).__name__}>"
