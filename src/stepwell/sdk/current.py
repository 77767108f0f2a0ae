"""The step that is being run: its attempt and its idempotency key, for code deep inside it."""

from __future__ import annotations

import contextvars
from typing import Final

import msgspec

from stepwell.errors import StepUsageError
from stepwell.protocol.ids import named_uuid


class RunningStep(msgspec.Struct, frozen=True):
    """A step while its code runs."""

    id: str
    """The hash that travels on the wire."""
    name: str
    run_id: str
    attempt: int
    """0 for the first attempt."""

    @property
    def idempotency_key(self) -> str:
        """A UUID for third parties that deduplicate requests, such as payment APIs.

        It is the same in every attempt of this step of this run, so that a retry after a crash, which can't know
        whether the last attempt went through, is recognised. Another step, or another run, has another key.
        """
        return named_uuid(self.run_id, self.id)


RUNNING: Final[contextvars.ContextVar[RunningStep | None]] = contextvars.ContextVar("stepwell_step", default=None)


HANDLER: Final[contextvars.ContextVar[str | None]] = contextvars.ContextVar("stepwell_handler", default=None)
"""The function whose handler is being replayed, in its steps, too."""


def replayed_function() -> str | None:
    """Return the function whose code between steps this is; None in steps and outside handlers."""
    return HANDLER.get() if RUNNING.get() is None else None


def check_outside(what: str) -> None:
    """Raise ``StepUsageError`` when this is the code of a step."""
    outer = RUNNING.get()
    if outer is not None:
        raise StepUsageError(f"{what} is called inside step {outer.name!r}: call it in the handler itself")


def current_step() -> RunningStep:
    """Return the step that this code runs in; raise ``StepUsageError`` outside a step."""
    step = RUNNING.get()
    if step is None:
        raise StepUsageError("there is no current step here: call it in the code that step.run(…) runs")
    return step
