"""Which step a call is at. The server is told of one that takes longer, so that it is seen while it runs.

A call runs one step at a time: those that are due together get calls of their own, which the server makes for them by
name. So there is one place to look at, and a step writes itself down there when it begins, and nothing else. The courier
looks at these places a few times a second, beside the app's work; what is quicker than that costs no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stepwell.protocol.canonical import Json
from stepwell.protocol.logs import Begun
from stepwell.sdk.assignment import Assignment
from stepwell.sdk.current import RunningStep

if TYPE_CHECKING:
    from stepwell.sdk.courier import Courier

SLOW_S: Final = 0.2
"""How long a step runs before the server is told."""


class Progress:
    """The place of one call."""

    def __init__(self, courier: Courier, assignment: Assignment, attempt_id: str, *, ends_call: bool) -> None:
        """With ``ends_call`` the call ends with its first new step."""
        self._courier, self._run_id, self._attempt_id = courier, assignment.run_id, attempt_id
        self._elapsed, self._ends_call = courier.elapsed, ends_call
        self._at: tuple[RunningStep, float, list[Json] | None] | None = None
        self._told: RunningStep | None = None
        self._is_watched = False

    def begin(self, step: RunningStep, given: list[Json] | None) -> None:
        """Note that a step begins, with arguments that may be shown."""
        self._at = (step, self._elapsed(), given)
        if not self._is_watched:
            self._is_watched = True
            self._courier.watch(self)

    def end(self) -> None:
        """Note that no step runs now."""
        self._at = None

    def close(self) -> None:
        """Note that the call is over."""
        self._at = None
        if self._is_watched:
            self._courier.forget(self)

    def slow(self, now: float) -> tuple[RunningStep, Begun] | None:
        """Return the step that runs, if the server is to be told of it. It is called in the courier's thread."""
        at = self._at
        if at is None or at[0] is self._told or now - at[1] < SLOW_S:
            return None
        step, began_at, given = at
        ran_ms = round((now - began_at) * 1000)
        begun = Begun(
            self._run_id, self._attempt_id, step.id, step.name, ran_ms, ends_call=self._ends_call, input=given
        )
        return step, begun

    def told(self, step: RunningStep) -> None:
        """Note that the server knows of a step."""
        self._told = step
