"""The jobs of a run: how they are named, and which of them follows which (protocol 4.10)."""

from __future__ import annotations

from typing import Final

import msgspec

from stepwell.engine.core.model import Job, JobKind, Run
from stepwell.engine.core.partition import TIMERS, later
from stepwell.engine.core.state import RunState
from stepwell.limits import PLACE_KEPT_MS
from stepwell.protocol.ids import DISCOVER, AttemptId, JobId

START: Final = "start"
FINISH: Final = "finish"
"""What a run must have done in time."""


def first_job(run: Run, *, partition: str, max_attempts: int, due_at: int) -> Job:
    """Make the job that starts a run."""
    return Job(
        run_id=run.id,
        id=JobId("0.0"),
        partition=partition,
        kind=JobKind.DISCOVER,
        step_id=DISCOVER,
        due_at=due_at,
        created_at=run.queued_at,
        max_attempts=max_attempts,
    )


def timeout_job(run: Run, which: str, *, due_at: int, at: int) -> Job:
    """Make the guard that cancels a run which hasn't started (``start``) or ended (``finish``) by a time."""
    return Job(
        run_id=run.id,
        id=JobId(f"timeout.{which}"),
        partition=TIMERS,
        kind=JobKind.TIMEOUT,
        step_id="",
        title=which,
        due_at=due_at,
        created_at=at,
        max_attempts=1,
    )


def attempt_id(job: Job) -> AttemptId:
    """Name the attempt that a lease of a job stands for; unique in the run. It is the call's request id as well."""
    return AttemptId(f"{job.id}.{job.generation}")


def place_in_line(job: Job, at: int) -> int:
    """Return when a job that follows another counts as due: since then, but not since longer than ``PLACE_KEPT_MS``.

    So a run under way isn't overtaken by the burst it came with, and a run of many long steps lets others in.
    """
    # What the app asks for before the watch of its run is due has its place from now on (``core/endpoint.py``).
    return max(min(job.due_at, at), at - PLACE_KEPT_MS)


def wants_discovery(state: RunState, job: Job) -> bool:
    """Tell whether the end of a job is followed by a discovery (protocol 4.10.4)."""
    return not job.is_joined or state.joined <= {job.id}


def discovery(
    state: RunState, run: Run, job: Job, *, at: int, stack_length: int, number: int
) -> tuple[Run, tuple[Job, ...]]:
    """Return the discovery that follows ``job``, or none where the run has one already; it clears a forced plan.

    One that is under way hasn't seen the completion, and knows it when it ends; one that waits will see it.
    """
    if run.request_version >= 2 and run.is_plan_forced:
        run = msgspec.structs.replace(run, is_plan_forced=False)
    for other in state.jobs.values():
        if other.kind is JobKind.DISCOVER and other.id != job.id:
            return run, ()
    discovery = Job(
        run_id=run.id,
        id=JobId(f"{run.version}.{number}"),
        partition=later(run.partition),
        kind=JobKind.DISCOVER,
        step_id=DISCOVER,
        due_at=place_in_line(job, at),
        created_at=at,
        max_attempts=job.max_attempts,
        stack_current=stack_length,
    )
    return run, (discovery,)
