"""A run that nothing brings on goes on from where it was."""

from __future__ import annotations

import msgspec
import pytest

from stepwell.engine.core.jobs import timeout_job
from stepwell.engine.core.model import JobKind, Run, RunStatus
from stepwell.engine.core.revive import revive
from stepwell.engine.core.state import RunState
from stepwell.engine.core.trigger import new_run, start_job
from stepwell.protocol.ids import RunId
from tests.unit.engine.making import T0, event_of, function_of, ulid

F = function_of()
PARTITION = f"{F.id}|c.12345678.0123456789abcdef|r.12345678.0123456789abcdef"


def run_of(status: RunStatus) -> Run:
    run = new_run(event_of(), F, now=T0, run_id=RunId(ulid(1, "R")), partition=PARTITION)
    return msgspec.structs.replace(run, status=status, version=7)


@pytest.mark.parametrize(
    ("status", "partition"),
    [(RunStatus.QUEUED, PARTITION), (RunStatus.RUNNING, f"{F.id}|c.12345678.0123456789abcdef")],
)
def test_it_stands_in_the_line_where_it_would_have_been(status: RunStatus, partition: str) -> None:
    run = run_of(status)
    guard = timeout_job(run, "finish", due_at=T0 + 1, at=T0)

    job = revive(RunState(run, event_of().body, (), (guard,)), F, at=T0 + 5)

    assert (job.kind, job.partition, job.due_at, job.max_attempts) == (JobKind.DISCOVER, partition, T0 + 5, 5)
    assert job.id not in (guard.id, "7.0", "8.0")


def test_only_a_run_that_is_stuck_is_revived() -> None:
    run = run_of(RunStatus.QUEUED)
    state = RunState(run, event_of().body, (), (start_job(run, F, due_at=T0),))

    with pytest.raises(AssertionError):
        revive(state, F, at=T0)
