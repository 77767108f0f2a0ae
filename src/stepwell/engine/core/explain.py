"""Why a run isn't running: each pending job in plain words, from the same state that decides when it is claimed."""

from __future__ import annotations

from typing import NamedTuple

from stepwell.engine.core.model import Job, JobKind
from stepwell.protocol.duration import rough_text, time_text


class Queue(NamedTuple):
    """The partition that a job waits in: an app's calls."""

    app: str
    calls_max: int
    calls_free: int
    """Call slots that are not in use."""


def why_waiting(job: Job, queue: Queue, *, now: int) -> str | None:
    """Say what a job waits for, or None when it is being worked on."""
    if job.owner is not None:
        return None
    if job.kind is JobKind.TIMER:
        if job.due_at > now:
            return f"sleeping until {_when(job.due_at, now)}"
        return "its sleep is over: it goes on now"
    return _why_not_called(job, queue, now)


def _why_not_called(job: Job, queue: Queue, now: int) -> str:
    if job.due_at > now and job.attempt > 0:
        due = f"attempt {job.attempt + 1} of {job.max_attempts} is due at {_when(job.due_at, now)}"
        return f"the last attempt failed; {due}"
    if job.due_at > now:
        return f"its event is dated ahead; it starts at {_when(job.due_at, now)}"
    after = "the server stopped during the last attempt; " if job.lost_count else ""
    if queue.calls_free <= 0:
        return f"{after}queued behind others: all {queue.calls_max} call slots of app {queue.app!r} are in use"
    return f"{after}queued: it is called in a moment"


def _when(at: int, now: int) -> str:
    return f"{time_text(at)} (in {rough_text(at - now)})"
