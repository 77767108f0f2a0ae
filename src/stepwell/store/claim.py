"""Claims in a group commit: due jobs of partitions, as many as their limits have room for. A plan without I/O.

What a limit counts are rows of ``slot``, one for each leased job or run under way. The keys are locked with the fence
(``locks.py``), so a count holds until the commit; giving back needs no lock, since it only makes room.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from stepwell.engine.core.flow import throttle, throttle_expiry
from stepwell.engine.core.model import Job
from stepwell.store.query import Statement
from stepwell.store.request import Claimed, ClaimRequest, Result, ThrottleLimit, Verdict, Want
from stepwell.store.rows import Row, read_job


def claim(request: ClaimRequest, owner: str) -> Generator[Statement, Sequence[Row], Result]:
    """Lease jobs, and return them with when each partition has work again, or what it waits for."""
    jobs: list[Job] = []
    blocked: list[tuple[str, tuple[str, ...]]] = []
    throttled: dict[str, int] = {}
    room = yield from _count(request.wants)
    states = yield from _load_throttles(request.wants)
    for want in request.wants:
        full = tuple(slot.key for slot in want.slots if room[slot.key, slot.limit] <= 0)
        if full:
            blocked.append((want.partition, full))
            continue
        limit = min([want.limit, *(room[slot.key, slot.limit] for slot in want.slots)])
        if want.throttle is not None:
            _, limit, next_at = _throttle(states, want.throttle, request.now, limit)
            if next_at is not None:
                throttled[want.partition] = next_at
        claimed: list[Job] = []
        if limit > 0:
            rows = yield Statement(
                "job_claim",
                parameters={
                    "owner": owner,
                    "now": request.now,
                    "partition": want.partition,
                    "later": want.later,
                    "limit": limit,
                },
            )
            claimed = [read_job(row) for row in rows]
        jobs += claimed
        if want.throttle is not None and claimed:
            state, _, _ = _throttle(states, want.throttle, request.now, len(claimed))
            assert state is not None, "a throttle that has just started something isn't idle"
            states[want.throttle.key] = state
            yield Statement("flow_save", [(want.throttle.key, state, throttle_expiry(state))])
        if want.slots and claimed:
            yield Statement(
                "slot_insert",
                [(slot.key, job.run_id, "" if slot.is_run else job.id) for slot in want.slots for job in claimed],
            )
            for key, slot_limit in room:
                if any(slot.key == key for slot in want.slots):
                    room[key, slot_limit] -= len(claimed)
            full = tuple(slot.key for slot in want.slots if room[slot.key, slot.limit] <= 0)
            if full:
                blocked.append((want.partition, full))
    next_due = yield Statement("job_next_due", [(want.partition,) for want in request.wants])
    versions: dict[str, int] = {}
    if jobs:
        jobs.sort(key=lambda job: job.due_at)
        found = yield Statement("run_versions", [(id,) for id in sorted({job.run_id for job in jobs})])
        versions = {row[0]: row[1] for row in found}
    return Result(
        Verdict.COMMITTED,
        # A run that was pruned left a job behind: whoever works on it finds no run, and drops it.
        claimed=[Claimed(job, versions.get(job.run_id, -1)) for job in jobs],
        next_due=[
            (partition, due_at if due_at is None else max(due_at, throttled.get(partition, due_at)))
            for partition, due_at in next_due
        ],
        blocked=blocked,
    )


def _count(wants: Sequence[Want]) -> Generator[Statement, Sequence[Row], dict[tuple[str, int], int]]:
    """Return how many more may use each key, for each limit that a partition has for it."""
    limits = {(slot.key, slot.limit, slot.is_taken) for want in wants for slot in want.slots}
    if not limits:
        return {}
    rows = yield Statement("slot_count", sorted({(key,) for key, _, _ in limits}))
    used = {row[0]: row[1] for row in rows}
    return {(key, limit): limit + is_taken - used[key] for key, limit, is_taken in limits}


def _load_throttles(wants: Sequence[Want]) -> Generator[Statement, Sequence[Row], dict[str, Any]]:
    keys = sorted({(want.throttle.key,) for want in wants if want.throttle is not None})
    if not keys:
        return {}
    rows = yield Statement("flow_load", keys)
    return {row[0]: row[1] for row in rows}


def _throttle(
    states: dict[str, Any], limit: ThrottleLimit, now: int, wanted: int
) -> tuple[bytes | None, int, int | None]:
    return throttle(
        states.get(limit.key),
        limit=limit.limit,
        period_ms=limit.period_ms,
        burst=limit.burst,
        now=now,
        wanted=wanted,
    )
