"""Why a run isn't running, in words."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.engine.core.explain import Queue, why_waiting
from stepwell.engine.core.model import Job, JobKind
from stepwell.protocol.ids import JobId, ReplicaId, RunId

NOW = 1_767_225_600_000
FREE = Queue(app="shop", calls_max=2, calls_free=1)
FULL = Queue(app="shop", calls_max=2, calls_free=0)


def job(**more: Any) -> Job:
    fields: dict[str, Any] = {
        "run_id": RunId("r"),
        "id": JobId("0.0"),
        "partition": "shop",
        "kind": JobKind.DISCOVER,
        "step_id": "step",
        "due_at": NOW,
        "created_at": NOW,
        "max_attempts": 5,
    }
    return Job(**fields | more)


@pytest.mark.parametrize(
    ("waiting", "queue", "words"),
    [
        (job(kind=JobKind.TIMER, due_at=NOW + 90_000), FULL, "sleeping until 2026-01-01T00:01:30.000Z (in 1m30s)"),
        (job(kind=JobKind.TIMER), FREE, "its sleep is over: it goes on now"),
        (
            job(attempt=1, due_at=NOW + 12_000),
            FREE,
            "the last attempt failed; attempt 2 of 5 is due at 2026-01-01T00:00:12.000Z (in 12s)",
        ),
        (
            job(due_at=NOW + 3_600_000),
            FREE,
            "its event is dated ahead; it starts at 2026-01-01T01:00:00.000Z (in 1h)",
        ),
        (job(), FULL, "queued behind others: all 2 call slots of app 'shop' are in use"),
        (job(attempt=3), FULL, "queued behind others: all 2 call slots of app 'shop' are in use"),
        (job(kind=JobKind.STEP), FREE, "queued: it is called in a moment"),
        (job(lost_count=1), FREE, "the server stopped during the last attempt; queued: it is called in a moment"),
    ],
)
def test_each_way_to_wait_has_its_words(waiting: Job, queue: Queue, words: str) -> None:
    assert why_waiting(waiting, queue, now=NOW) == words


def test_a_leased_job_waits_for_nothing() -> None:
    leased = job(owner=ReplicaId("me"), leased_at=NOW, attempt=1, due_at=NOW + 5)

    assert why_waiting(leased, FULL, now=NOW) is None
