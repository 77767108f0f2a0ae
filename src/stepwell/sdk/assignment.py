"""What a call asks of a function, and what both kinds of replay, async and sync, do alike with a step."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from stepwell.errors import StepUsageError
from stepwell.protocol.ids import DISCOVER, StepId, step_hash
from stepwell.sdk.current import RUNNING, RunningStep
from stepwell.sdk.memo import Memo
from stepwell.sdk.outcome import Failed, Found, exc_info, failed
from stepwell.sdk.shown import shown_arguments
from stepwell.sdk.wanted import Wanted

log: Final = logging.getLogger("stepwell")


class Interrupted(asyncio.CancelledError):
    """Stops user code at a step that isn't known yet. A ``BaseException``: ``except Exception`` doesn't catch it.

    To asyncio it is a cancellation, which ``gather`` and ``TaskGroup`` pass on without calling it an error.
    """


class Assignment(msgspec.Struct, frozen=True):
    """What a call asks of a function."""

    function_id: str
    run_id: str
    attempt: int
    max_attempts: int | None
    target: StepId | None
    """The only step to run; None to find out what is next."""
    plans_only: bool
    """Report runnable steps, don't run them (``disable_immediate_execution``)."""

    @property
    def is_last_attempt(self) -> bool:
        """No retry will follow."""
        return self.max_attempts is not None and self.attempt + 1 >= self.max_attempts


def next_id(uses: dict[str, int], name: str) -> StepId:
    """Return the id of the next use of a name, counting it (protocol 4.5)."""
    index = uses.get(name, 0)
    uses[name] = index + 1
    return step_hash(name, index)


def check_use(wanted: Wanted, assignment: Assignment) -> None:
    """Raise ``StepUsageError`` for a step without a name, and for one inside another's body."""
    outer = RUNNING.get()
    if outer is not None:
        raise StepUsageError(
            f"step {wanted.name!r} is called inside step {outer.name!r} of function {assignment.function_id!r}:"
            f" call it before or after {outer.name!r}, in the handler itself"
        )
    if not isinstance(wanted.name, str) or not wanted.name:  # pyright: ignore[reportUnnecessaryIsInstance] - users' input
        raise StepUsageError(
            f"a step of function {assignment.function_id!r} has the id {wanted.name!r}; give it a text"
        )
    if wanted.asked is None and not callable(wanted.body):
        raise StepUsageError(
            f"step {wanted.name!r} of function {assignment.function_id!r} was given no callable:"
            f" write step.run({wanted.name!r}, fn, arguments…), without calling fn"
        )


def running(id: StepId, wanted: Wanted, assignment: Assignment) -> RunningStep:
    """Return what ``current_step()`` tells a step's body."""
    # A body that runs in a discovery call shares that call's attempts; in a targeted call they are the step's own.
    return RunningStep(id=id, name=wanted.name, run_id=assignment.run_id, attempt=assignment.attempt)


def prepared(id: StepId, wanted: Wanted, memo: Memo) -> Wanted:
    """Return a step that is to be run with its arguments, or with those that the server has put in their place."""
    put = memo.input(id)
    args = wanted.args if put is None else tuple(put)
    return wanted._replace(args=args, given=shown_arguments(args, wanted.kwargs))


def bound(wanted: Wanted) -> Callable[[], Any]:
    """Return a step's body with its arguments."""
    assert wanted.body is not None
    return functools.partial(wanted.body, *wanted.args, **wanted.kwargs)


def is_async(body: Callable[..., Any]) -> bool:
    """Tell whether calling it makes a coroutine, and so doesn't block."""
    plain = body.func if isinstance(body, functools.partial) else body
    return inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(getattr(plain, "__call__", None))  # noqa: B004 - an object may have an async __call__


def failure(id: StepId, wanted: Wanted, error: BaseException, assignment: Assignment) -> Found:
    """Log and report a step that raised."""
    log.warning(
        "step %s of function %s failed (run %s, attempt %d)",
        wanted.name,
        assignment.function_id,
        assignment.run_id,
        assignment.attempt,
        exc_info=exc_info(error),
    )
    return failed(id, wanted, error, is_last=assignment.is_last_attempt)


def unexpected(target: StepId, assignment: Assignment) -> Failed:
    """Report that the step which the call asks for wasn't called: the code has changed since it was found."""
    return Failed(
        RuntimeError(
            f"function {assignment.function_id!r} didn't come to the step {target} that it reported earlier;"
            " its code has changed, or takes another way at each call (chance, time, I/O outside of steps)"
        ),
        code="step_unexpected",
    )


def target_of(step_id: str) -> StepId | None:
    """Return the step that a call's ``stepId`` asks for."""
    return None if step_id in ("", DISCOVER) else StepId(step_id)
