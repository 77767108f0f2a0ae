"""What brings a run on that has nothing left to do it: a discovery, by which the app says again what is next."""

from __future__ import annotations

from stepwell.engine.core.model import Function, Job, JobKind, RunStatus
from stepwell.engine.core.partition import later
from stepwell.engine.core.state import RunState
from stepwell.protocol.ids import DISCOVER, JobId


def revive(state: RunState, function: Function, *, at: int) -> Job:
    """Make the job of a run that has none: its first, or one that goes on from its memo."""
    run = state.run
    assert not run.status.is_final and state.driver_count == 0, "only a run that is stuck is revived"
    return Job(
        run_id=run.id,
        id=JobId(f"{run.version}.revived"),
        partition=run.partition if run.status is RunStatus.QUEUED else later(run.partition),
        kind=JobKind.DISCOVER,
        step_id=DISCOVER,
        due_at=at,
        created_at=at,
        max_attempts=function.max_attempts,
        stack_current=len(state.stack),
    )
