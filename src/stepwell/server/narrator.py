"""Says what happens: in dev a line for each thing, in production log lines for syncs and failures only.

It must cost next to nothing. What happens is noted on the event loop and written ten times a second; of more than
``_LINES_MAX`` things in between, the rest is counted and said in one line. Payloads are never shown.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final, TextIO

import structlog

from stepwell.engine.clock import real_ms
from stepwell.engine.core.model import Function, Intake, JobKind, Outcome, Run, RunStatus, Step, Transition
from stepwell.engine.core.registration import SyncPlan
from stepwell.engine.watch import NoWatcher
from stepwell.protocol.duration import rough_text, time_text
from stepwell.protocol.event import INVOKED, TIMER
from stepwell.protocol.ops import OpCode
from stepwell.server.failure import read_failure
from stepwell.server.settings import Settings
from stepwell.server.terminal import Line, Terminal
from stepwell.store.request import Result

_FLUSH_S: Final = 0.1
_LINES_MAX: Final = 200  # of one flush, in a terminal
_LINES_WHEN_BUSY: Final = 20  # of a flush after one that was full: nobody reads thousands of lines a second
_LOGGED_MAX: Final = 20  # of one flush, in a log
_NAMES_MAX: Final = 4

_PAUSES: Final = {JobKind.TIMER: "sleep", JobKind.WAIT: "waits"}
_WAITED: Final = frozenset((OpCode.SLEEP, OpCode.WAIT_FOR_EVENT, OpCode.WAIT_FOR_SIGNAL, OpCode.INVOKE_FUNCTION))
_SKIPPED: Final = {
    "duplicate_event_id": "the event id {id} started it before, within 24 hours",
    "idempotency": "an event with the same idempotency value started it before, within 24 hours",
    "rate_limited": "its rate limit is reached",
    "singleton": "another run of this singleton goes on",
    "paused": "it is paused",
}

log = structlog.get_logger("stepwell")


class Narrator(NoWatcher):
    """Watches the engine. Everything is called on the event loop."""

    def __init__(self, settings: Settings, stream: TextIO | None = None) -> None:
        self._is_dev = settings.is_dev
        self._is_quiet = settings.is_quiet
        self._terminal = Terminal(stream or sys.stdout)
        self._lines: list[Line] = []
        self._left_out: Counter[str] = Counter()
        self._taken = 0
        self._room = _LINES_MAX if settings.is_dev else _LOGGED_MAX
        self._timer: asyncio.TimerHandle | None = None
        self._offset_ms = 0
        """How far time travel is ahead of real time, as seen in what happens."""

    async def start(self) -> None:
        """Begin to speak."""
        self._terminal.start()

    async def stop(self) -> None:
        """Say what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._flush(is_last=True)
        await asyncio.to_thread(self._terminal.stop)

    # -- what happens -------------------------------------------------------------------------------------------

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        """Say that an event came, and what it started."""
        if self._is_quiet or not self._is_dev:
            return
        event = intake.event
        if event.is_internal and not functions:
            return
        if self._has_room("event"):
            if not intake.is_stored:
                self._offset_ms = event.received_at - real_ms()
            word, subject, started = _said_of(intake, functions, result)
            self._say(word, subject, started)
        if not (result.skipped or result.gathered):
            return
        for run, function in zip(intake.runs, functions, strict=True):
            reason = result.skipped.get(run.id)
            if reason is not None and self._has_room("skipped"):
                why = _SKIPPED.get(reason, reason)
                self._say("skipped", function.slug, why.format(id=repr(event.event_id)))
            elif run.id in result.gathered and self._has_room("waits"):
                self._say("waits", function.slug, "the event joins others, which start one run together")

    def changed(self, transition: Transition, function: Function) -> None:
        """Say what a reply, a timer or a cancellation changed."""
        self._offset_ms = transition.at - real_ms()
        if not self._is_dev:
            self._log_failures(transition, function)
            return
        if self._is_quiet:
            return
        self._say_attempt(transition, function)
        for step in transition.steps:
            self._say_step(transition, step, function)
        for job in transition.jobs:
            if job.kind not in _PAUSES:
                continue
            word = _PAUSES[job.kind]
            if self._has_room(word):
                until = f"{time_text(job.due_at)[:19]}Z ({rough_text(max(0, job.due_at - transition.at))})"
                self._say(word, function.slug, f"{job.title} until {until}")
        if transition.is_final:
            self._say_end(transition, function)

    def synced(self, plan: SyncPlan) -> None:
        """Say that an app's functions changed."""
        app = plan.app
        changed = sum(change.is_changed for change in plan.changes)
        if not self._is_dev:
            log.info(
                "app.synced",
                app=app.name,
                url=app.url,
                sdk=app.sdk,
                functions=len(plan.changes),
                changed=changed,
                archived=len(plan.archived),
            )
        else:
            counts = [f"{len(plan.changes)} functions", f"{changed} new or changed"]
            counts += [f"{len(plan.archived)} removed"] if plan.archived else []
            self._say("app", app.name, f"synced {', '.join(counts)} · {app.url} ({app.sdk})")
        for warning in plan.warnings:
            self.warn(warning)

    def note(self, line: str) -> None:
        """Say something about the server itself."""
        if self._is_dev:
            self._say("server", "", line)
        else:
            log.info("server.note", message=line)

    def warn(self, line: str) -> None:
        """Say what needs a hand."""
        if self._is_dev:
            self._say("warning", "", line)
        else:
            log.warning("server.warning", message=line)

    # -- in dev -------------------------------------------------------------------------------------------------

    def _say_attempt(self, transition: Transition, function: Function) -> None:
        attempt = transition.attempt
        if attempt is not None and attempt.outcome is Outcome.ERROR and self._has_room("retry"):
            count = f"attempt {attempt.attempt + 1} of {function.max_attempts}"
            again = rough_text(max(0, (attempt.retry_at or 0) - transition.at))
            why = _error_text(attempt.error)
            self._say("retry", function.slug, f"{_part(attempt.title)}: {count} failed, again in {again} · {why}")

    def _say_step(self, transition: Transition, step: Step, function: Function) -> None:
        attempt = transition.attempt
        has_failed = attempt is not None and attempt.outcome is Outcome.FAILED and attempt.step_id == step.id
        word = "failed" if has_failed else "step"
        if not self._has_room(word):
            return
        took = rough_text(max(0, step.ended_at - step.started_at))
        if step.op in _WAITED:
            self._say(word, function.slug, f"{step.title} is over, after {took}")
        elif has_failed and attempt is not None:
            self._say(word, function.slug, f"{step.title} failed for good · {_error_text(attempt.error)}")
        else:
            self._say(word, function.slug, f"{step.title} done in {took}")

    def _say_end(self, transition: Transition, function: Function) -> None:
        run = transition.run
        word = run.status.value
        if not self._has_room(word):
            return
        took = rough_text(_run_ms(run))
        match run.status:
            case RunStatus.COMPLETED:
                text = f"in {took}"
            case RunStatus.FAILED:
                text = f"after {took} · {_failure_text(transition)}"
            case _:
                text = f"after {took}" + (f" ({run.reason})" if run.reason else "")
        self._say(word, function.slug, f"{text} · {run.id}")

    def _has_room(self, word: str) -> bool:
        """Tell whether another line fits into this flush; if not, it is counted."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)
        if self._taken < self._room:
            self._taken += 1
            return True
        self._left_out[word] += 1
        return False

    def _say(self, word: str, subject: str, text: str) -> None:
        self._lines.append(Line(real_ms() + self._offset_ms, word, subject, text))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)

    def _flush(self, *, is_last: bool = False) -> None:
        self._timer = None
        if self._terminal.is_busy and not is_last:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)
            return
        lines, left_out = self._lines, self._left_out
        self._lines, self._left_out, self._taken = [], Counter(), 0
        if not self._is_dev:
            if left_out:
                log.warning("failures.left_out", **left_out)
            return
        count = left_out.total()
        self._room = _LINES_WHEN_BUSY if count else _LINES_MAX
        parts = ", ".join(f"{number:,} {word}" for word, number in left_out.most_common())
        self._terminal.write(lines, f"{count:,} more: {parts}" if count else "")

    # -- in production ------------------------------------------------------------------------------------------

    def _log_failures(self, transition: Transition, function: Function) -> None:
        run, attempt = transition.run, transition.attempt
        if attempt is not None and attempt.outcome is Outcome.ERROR and self._has_room("attempt_failed"):
            log.warning(
                "attempt.failed",
                run_id=run.id,
                function_id=function.slug,
                step=attempt.title or None,
                attempt=attempt.attempt + 1,
                max_attempts=function.max_attempts,
                retry_at=time_text(attempt.retry_at) if attempt.retry_at is not None else None,
                error=_error_text(attempt.error),
            )
        if run.status is RunStatus.FAILED and transition.is_final and self._has_room("run_failed"):
            log.error("run.failed", run_id=run.id, function_id=function.slug, error=_failure_text(transition))


def _said_of(intake: Intake, functions: Sequence[Function], result: Result) -> tuple[str, str, str]:
    """Return word, subject and text for an event that came."""
    event = intake.event
    started = [
        function.slug
        for run, function in zip(intake.runs, functions, strict=True)
        if run.id not in result.skipped and run.id not in result.gathered
    ]
    names = ", ".join(started[:_NAMES_MAX]) + (f" and {len(started) - _NAMES_MAX} more" * (len(started) > _NAMES_MAX))
    if event.name == TIMER:
        return "cron", names, "its time has come"
    if event.name == INVOKED:
        return "event", names, "was invoked"
    if started:
        text = f"starts {names}"
    elif result.resumed and not functions:
        text = "lets waiting runs go on"
    else:
        text = "starts nothing" + (": no function has this trigger" * (not functions))
    if intake.is_stored:
        text += " again"
    elif event.ts > event.received_at and started:
        text += f" in {rough_text(event.ts - event.received_at)}"
    return "event", event.name, text


def _part(title: str) -> str:
    """Name what an attempt ran: a step, or the function's own code."""
    return title or "the function"


def _error_text(error: bytes | None) -> str:
    return str(read_failure(error)) if error is not None else "unknown error"


def _failure_text(transition: Transition) -> str:
    return _error_text(transition.run.output)


def _run_ms(run: Run) -> int:
    return max(0, (run.ended_at or run.queued_at) - run.queued_at)
