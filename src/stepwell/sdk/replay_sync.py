"""Run a plain (``def``) handler against the memo up to its next new step. No I/O of its own.

It runs in the caller's thread. A known step returns at once; a new one runs in its place, or is noted, and then
``Interrupted`` is raised through the handler. Where the server takes checkpoints, a step that ran returns as well.

In ``parallel`` a branch stops at its first new step (``_Skipped``), so that the next branch gets its turn; when all have
stopped or ended, the new steps are reported together. How far a branch comes differs from call to call, so the branches
can't count the uses of an id together, in the order found, as the rest of a handler does: the first step of each branch is
named as if it stood outside, and the others of the branch are named after it.
"""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from stepwell.errors import StepUsageError
from stepwell.protocol.canonical import Json
from stepwell.protocol.ids import StepId, step_hash
from stepwell.sdk.assignment import Assignment, Interrupted, bound, check_use, failure, prepared, running, unexpected
from stepwell.sdk.checkpoint import Checkpoints
from stepwell.sdk.current import HANDLER, RUNNING
from stepwell.sdk.memo import Memo
from stepwell.sdk.outcome import Failed, Found, Outcome, closing, planned, ran, returned
from stepwell.sdk.progress import Progress
from stepwell.sdk.wanted import Wanted

_AFTER: Final = "\x1f"  # a unit separator: no one has it in an id


class _Skipped(BaseException):
    """Ends a branch at a step that isn't known yet."""


class _Branch:
    """One branch of ``parallel``, or the handler itself (which has no parent): where uses of step ids are counted."""

    def __init__(self, parent: _Branch | None, *, is_raced: bool = False) -> None:
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.is_raced: bool = is_raced or (parent is not None and parent.is_raced)
        self.is_skipped = False
        self.last = -1
        """The place, in the order of completion, of the last of its steps that was completed: when it came so far."""
        self._uses: dict[str, int] = {}
        self._first: str | None = None

    def name(self, id: str) -> str:
        """Return the text whose hash is the step's id on the wire."""
        if self.parent is None:
            return self._count(id)
        if self._first is None:
            self._first = self.parent.name(id)
            return self._first
        # The id comes last: the index that is put behind it must not look like that of the first step's name. The depth is
        # in it, since the first step of a branch may also be the first of a branch of that branch.
        return self._count(f"{self._first}{_AFTER * self.depth}{id}")

    def _count(self, text: str) -> str:
        index = self._uses.get(text, 0)
        self._uses[text] = index + 1
        return text if index == 0 else f"{text}:{index}"


class SyncReplay:
    """One replay of a plain handler. ``run`` is called once; ``step`` and ``parallel`` are what the step tools call."""

    def __init__(
        self,
        assignment: Assignment,
        memo: Memo,
        wait: Callable[[Awaitable[Any]], Any],
        checkpoints: Checkpoints | None = None,
        progress: Progress | None = None,
    ) -> None:
        """``wait(awaitable)`` blocks until an awaitable that a step's body returned is done, and returns its result.

        Without ``checkpoints`` the call ends with its first new step. ``progress`` is told which step runs.
        """
        self._assignment = assignment
        self._memo = memo
        self._wait = wait
        self._checkpoints = checkpoints
        self._progress = progress
        self._branch = _Branch(None)
        self._new: list[tuple[StepId, Wanted]] = []
        self._lost: list[StepId] = []
        self._outcome: Outcome | None = None
        self._thread = threading.get_ident()

    def run(self, start: Callable[[], Any]) -> Outcome:
        """Call the handler by ``start`` and return what it came to."""
        target = self._assignment.target
        if target is not None and target in self._memo:
            return Found([])
        self._thread = threading.get_ident()
        return contextvars.copy_context().run(self._run, start)

    def _run(self, start: Callable[[], Any]) -> Outcome:
        RUNNING.set(None)
        HANDLER.set(self._assignment.function_id)
        try:
            value = start()
        except Interrupted as error:
            # Without an outcome it is user code that raised it, or a cancellation of its own.
            return self._outcome or Failed(error)
        except Exception as error:  # noqa: BLE001 - whatever user code raises is its outcome
            return self._outcome or Failed(error)
        if self._outcome is not None:
            return self._outcome
        if self._assignment.target is not None:
            return unexpected(self._assignment.target, self._assignment)
        return returned(value, self._assignment.function_id)

    def step(self, wanted: Wanted) -> Json:
        """Answer a step of the handler from the memo, or interrupt it."""
        check_use(wanted, self._assignment)
        if self._outcome is not None:
            raise Interrupted
        if self._branch.is_skipped:
            raise _Skipped
        if threading.get_ident() != self._thread:
            raise StepUsageError(
                f"step {wanted.name!r} of function {self._assignment.function_id!r} is called in another thread than its"
                " handler; use step.parallel([…]) for steps at the same time"
            )
        id = step_hash(self._branch.name(wanted.name))
        if id in self._memo:
            self._memo.see(id)
            self._branch.last = max(self._branch.last, self._memo.position(id))
            return self._memo.result(id)
        if self._branch.is_raced:
            wanted = wanted._replace(is_raced=True)
        is_alone = self._branch.parent is None
        target = self._assignment.target
        if wanted.body is not None and (
            target == id or (target is None and is_alone and not self._assignment.plans_only)
        ):
            outcome = self._run_step(id, wanted)
            if outcome is None:
                return self._memo.result(id)
            self._interrupt(outcome)
        self._new.append((id, wanted))
        return self._stop()

    def parallel(self, branches: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run each branch as far as the memo allows; return their results when all have ended.

        When some raised, the error of the first is raised, after all have ended.
        """
        results: list[Any] = []
        errors: list[Exception] = []
        outside = self._branch
        is_stopped = False
        for branch in branches:
            self._branch = _Branch(outside)
            try:
                results.append(branch())
            except _Skipped:
                pass
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
            finally:
                is_stopped = is_stopped or self._branch.is_skipped
                outside.last = max(outside.last, self._branch.last)
                self._branch = outside
        if is_stopped:
            self._stop()
        if errors:
            raise errors[0]
        return results

    def race(self, branches: Mapping[Any, Callable[[], Any]]) -> tuple[Any, Any]:
        """Run each branch as far as the memo allows; return the key and result of the first that ended, or raise its error.

        The first to end is the one whose last step was completed first. That of the others which is new isn't reported.
        """
        if not all(callable(branch) for branch in branches.values()):
            raise StepUsageError(
                f"step.wait_for_any of function {self._assignment.function_id!r} was given no callables:"
                " write lambda: step.sleep(…), so that it can call the step itself"
            )
        outside = self._branch
        reported_count = len(self._new)
        ended: list[tuple[int, Any, Any, Exception | None]] = []
        for key, branch in branches.items():
            inside = self._branch = _Branch(outside, is_raced=True)
            value, error = None, None
            try:
                value = branch()
            except _Skipped:
                pass
            except Exception as raised:  # noqa: BLE001 - raised below, if it was the first
                error = raised
            finally:
                self._branch = outside
            if not inside.is_skipped:
                ended.append((inside.last, key, value, error))
        if not ended:
            self._stop()
        last, winner, value, error = min(ended, key=lambda end: end[0])
        outside.last = max(outside.last, last)
        self._lost += [id for id, _ in self._new[reported_count:]]
        del self._new[reported_count:]
        if error is not None:
            raise error
        return winner, value

    def _stop(self) -> NoReturn:
        """End the handler, or the branch that this is, at what isn't known yet."""
        if self._branch.parent is None:
            self._report()
        self._branch.is_skipped = True
        raise _Skipped

    def _report(self) -> NoReturn:
        """Interrupt the handler with all that is new."""
        target = self._assignment.target
        if target is not None:
            self._interrupt(unexpected(target, self._assignment))
        self._interrupt(Found([planned(id, wanted) for id, wanted in self._new]))

    def _interrupt(self, outcome: Outcome) -> NoReturn:
        self._outcome = self._closing(outcome)
        raise Interrupted

    def _closing(self, outcome: Outcome) -> Outcome:
        """Let the server drop what races have lost, with the first reply after they were decided."""
        return closing(outcome, self._lost) if self._assignment.target is None else outcome

    def _run_step(self, id: StepId, wanted: Wanted) -> Outcome | None:
        """Run a step in its place: return what to answer, or None when the handler can go on."""
        if self._checkpoints is None:
            return self._execute(id, wanted)
        return self._checkpoints.begin() or self._checkpoints.keep_sync(
            self._closing(self._execute(id, wanted)), self._memo
        )

    def _execute(self, id: StepId, wanted: Wanted) -> Outcome:
        wanted = prepared(id, wanted, self._memo)
        body = bound(wanted)
        step = running(id, wanted, self._assignment)
        token = RUNNING.set(step)
        if self._progress is not None:
            self._progress.begin(step, wanted.given)
        try:
            value = body()
            if inspect.isawaitable(value):
                value = self._wait(value)
        except Exception as error:  # noqa: BLE001 - whatever a step raises is its result
            return failure(id, wanted, error, self._assignment)
        finally:
            RUNNING.reset(token)
            if self._progress is not None:
                self._progress.end()
        return ran(id, wanted, value, self._assignment.function_id)
