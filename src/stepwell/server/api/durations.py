"""Where the time of a run went: five parts that add up to the whole, from queued to ended, or to now.

code       user code was called
waiting    for an event, a signal, another run, or the answer to a request that the server made for a step
sleeping   until a time: a sleep, or the delay before a retry
queued     for its turn: before its first call, and whenever a call was due and not yet made
overhead   the rest: ours, and the network's

Parallel branches overlap. A moment counts once, for the first of these that holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from stepwell.engine.core.endpoint import is_at_work
from stepwell.engine.core.model import Attempt, Job, JobKind, Run, Step
from stepwell.protocol.ops import OpCode

CODE: Final = 0
WAITING: Final = 1
SLEEPING: Final = 2
QUEUED: Final = 3
_PART_COUNT: Final = 4

_OF_STEP: Final = {
    OpCode.SLEEP: SLEEPING,
    OpCode.WAIT_FOR_EVENT: WAITING,
    OpCode.WAIT_FOR_SIGNAL: WAITING,
    OpCode.INVOKE_FUNCTION: WAITING,
    OpCode.GATEWAY: WAITING,
    OpCode.AI_GATEWAY: WAITING,
}
_OF_JOB: Final = {JobKind.TIMER: SLEEPING, JobKind.WAIT: WAITING}


class Durations(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of a run went. The parts add up to the time from queued to ended, or to now."""

    queued_ms: int
    code_ms: int
    waiting_ms: int
    """For an event, a signal, another run, or an answer to a request that the server made for a step."""
    sleeping_ms: int
    """Sleeps, and delays before retries."""
    overhead_ms: int


class Span(NamedTuple):
    """A stretch of time, and what it was for: one of the parts."""

    start: int
    end: int
    part: int


def durations(
    run: Run, attempts: Iterable[Attempt], steps: Sequence[Step], jobs: Iterable[Job], *, now: int
) -> Durations:
    """Divide the time of a run."""
    end = run.ended_at if run.ended_at is not None else max(now, run.queued_at)
    ms = divide([*_spans(run, attempts, steps, jobs, now)], run.queued_at, end)
    return Durations(
        code_ms=ms[CODE],
        waiting_ms=ms[WAITING],
        sleeping_ms=ms[SLEEPING],
        queued_ms=ms[QUEUED],
        overhead_ms=max(0, end - run.queued_at) - sum(ms),
    )


def divide(spans: Sequence[Span], start: int, end: int) -> list[int]:
    """Return how long each part held between two instants, where a lower part goes before a higher one."""
    changes: list[tuple[int, int, int]] = []
    for span in spans:
        since, until = max(span.start, start), min(span.end, end)
        if since < until:
            changes += ((since, span.part, 1), (until, span.part, -1))
    changes.sort()
    ms, open_count, last = [0] * _PART_COUNT, [0] * _PART_COUNT, start
    for at, part, change in changes:
        holding = next((one for one, count in enumerate(open_count) if count), None)
        if holding is not None:
            ms[holding] += at - last
        open_count[part] += change
        last = at
    return ms


def _spans(
    run: Run, attempts: Iterable[Attempt], steps: Sequence[Step], jobs: Iterable[Job], now: int
) -> Iterator[Span]:
    first = now
    fetched = {step.id for step in steps if step.op in (OpCode.GATEWAY, OpCode.AI_GATEWAY)}
    tried_again: dict[tuple[str, int], int] = {}
    for attempt in attempts:
        first = min(first, attempt.started_at)
        yield Span(attempt.started_at, attempt.ended_at, WAITING if attempt.step_id in fetched else CODE)
        if attempt.retry_at is not None:
            yield Span(attempt.ended_at, attempt.retry_at, SLEEPING)
            tried_again[attempt.step_id, attempt.attempt + 1] = attempt.retry_at
        due_at = tried_again.pop((attempt.step_id, attempt.attempt), None)
        if due_at is not None:
            yield Span(due_at, attempt.started_at, QUEUED)
    for step in steps:
        part = _OF_STEP.get(step.op)
        if part is not None:
            yield Span(step.started_at, step.ended_at, part)
    for job in jobs:
        if job.kind.is_guard:
            continue
        if job.leased_at is not None and job.kind not in _OF_JOB:
            first = min(first, job.leased_at)
            yield Span(job.leased_at, now, WAITING if job.kind is JobKind.FETCH else CODE)
        elif is_at_work(job, now=now):
            first = min(first, job.created_at)
            yield Span(job.created_at, now, CODE)
        elif job.kind in _OF_JOB:
            yield Span(job.created_at, now, _OF_JOB[job.kind])
        else:
            # A retry, or an event that is dated ahead, isn't due yet.
            yield Span(job.created_at, job.due_at, SLEEPING)
            yield Span(max(job.due_at, job.created_at), now, QUEUED)
    yield Span(run.queued_at, first if run.ended_at is None else min(first, run.ended_at), QUEUED)
