"""What a ``PruneRequest`` deletes: a plan without I/O, the last part of a group commit (``batch.py``).

It waits for no lock: what another transaction has is passed over. Nothing of its transaction comes after it, so that
nobody can wait for its locks while it waits for theirs. Of a run its attempts, steps and lines go first, with its list of events
and whatever waits and slots it may have left; then the run itself, then its event, unless another run or gathering has
it: a crash leaves nothing without what it belongs to.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias, TypeVar

from stepwell.protocol.ids import RunId
from stepwell.store.query import Statement
from stepwell.store.request import Pruned, PruneRequest
from stepwell.store.rows import Row

T = TypeVar("T")

Deleting: TypeAlias = Generator[Statement, Sequence[Row], T]
"""Yields statements; is sent their rows; returns what they deleted."""


def prune(request: PruneRequest) -> Deleting[Pruned]:
    """Yield every statement, and return how much was deleted."""
    pruned = Pruned()
    events: set[str] = set(request.events)
    if request.runs:
        # What came to be while this waits for nobody, a lost attempt say, is seen by the statements after the lock.
        locked = yield Statement("prune_lock_runs", [(id,) for id in sorted(request.runs)])
        ids = [(row[0],) for row in locked]
        if ids and request.rows_max is not None:
            row_count, ids = yield from _shrink(ids[0][0], request.rows_max)
            pruned = pruned._replace(rows=row_count)
        elif ids:
            yield Statement("prune_attempts", ids)
            yield Statement("prune_steps", ids)
            yield Statement("prune_log", ids)
            yield Statement("prune_spans", ids)
            yield Statement("gathered_drop", ids)
        if ids:
            yield Statement("wait_drop", ids)
            yield Statement("slot_drop", ids)
            yield Statement("prune_tallies", ids)
            deleted = yield Statement("prune_runs", ids)
            events |= {row[0] for row in deleted}
            pruned = pruned._replace(runs=len(deleted))
    if events and request.received_before is not None:
        locked = yield Statement(
            "prune_lock_events", [(id,) for id in sorted(events)], {"received_before": request.received_before}
        )
        if locked:
            deleted = yield Statement("prune_events", [(row[0],) for row in locked])
            pruned = pruned._replace(events=len(deleted))
    if request.keys:
        deleted = yield Statement("prune_keys", sorted(request.keys), {"now": request.now})
        pruned = pruned._replace(keys=len(deleted))
    if request.samples:
        deleted = yield Statement("prune_samples", sorted(request.samples))
        pruned = pruned._replace(samples=len(deleted))
    return pruned


def _shrink(run_id: RunId, rows_max: int) -> Deleting[tuple[int, list[tuple[RunId]]]]:
    """Delete a part of a run's rows; return how many, and the run if none is left."""
    parameters = {"run_id": run_id, "limit": rows_max}
    row_count = 0
    for name in ("prune_some_log", "prune_some_spans", "prune_some_attempts", "prune_some_steps", "gathered_drop_some"):
        deleted = yield Statement(name, parameters=parameters)
        row_count += len(deleted)
        if len(deleted) == rows_max:
            return row_count, []
    return row_count, [(run_id,)]
