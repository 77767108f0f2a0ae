"""What a ``RepairRequest`` mends: a plan without I/O, one of the last parts of a group commit (``batch.py``).

Each statement looks again at what was found. Two replicas that mend the same at once may lock each other out on
PostgreSQL: then one of the two transactions is tried again, and finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from stepwell.protocol.ids import RunId
from stepwell.store.found import Fault
from stepwell.store.query import Statement
from stepwell.store.request import RepairRequest
from stepwell.store.rows import Row, job_row


def repair(request: RepairRequest) -> Generator[Statement, Sequence[Row], dict[Fault, int]]:
    """Yield every statement, and return how many of each fault were mended."""
    mended: dict[Fault, int] = {}
    if request.revived:
        mended[Fault.STUCK_RUN] = yield from _revive(request)
    for fault, keys in request.found.items():
        match fault:
            case Fault.STUCK_RUN | Fault.OVERDUE_GATHERING:
                continue
            case Fault.JOB_OF_ENDED_RUN:
                statement = Statement("repair_jobs", sorted(keys))
            case Fault.WAIT_OF_ENDED_RUN | Fault.WAIT_WITHOUT_JOB | Fault.EXPIRED_WAIT:
                statement = Statement("repair_waits", sorted(keys))
            case Fault.SLOT_OF_ENDED_RUN | Fault.SLOT_WITHOUT_LEASE:
                statement = Statement("repair_slots", sorted(keys))
            case Fault.EXPIRED_STATE:
                statement = Statement("repair_flow", sorted(keys), {"now": request.now})
            case Fault.EXPIRED_SIGNAL:
                statement = Statement("repair_signals", sorted(keys))
            case Fault.UNKNOWN_GATHERING:
                statement = Statement("repair_gatherings", sorted(keys))
        rows = yield statement
        mended[fault] = len(rows)
        if fault is Fault.UNKNOWN_GATHERING and rows:
            yield Statement("gathered_drop", rows)
    return mended


def _revive(request: RepairRequest) -> Generator[Statement, Sequence[Row], int]:
    """Give jobs to runs that have none, and that are still at the version which the jobs were made for."""
    locked = yield Statement("run_lock", sorted((job.run_id,) for job, _ in request.revived))
    versions = {RunId(row[0]): row[1] for row in locked}
    still = [job for job, version in request.revived if versions.get(job.run_id) == version]
    if not still:
        return 0
    undriven = yield Statement("repair_undriven", sorted((job.run_id,) for job in still))
    ids = {row[0] for row in undriven}
    rows = [job_row(job) for job in still if job.run_id in ids]
    if rows:
        yield Statement("repair_runs", [(row[0],) for row in rows])
        yield Statement("job_insert", rows)
    return len(rows)
