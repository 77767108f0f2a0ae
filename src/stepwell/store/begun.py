"""Runs as whoever asks sees them: one whose first call is in progress is ``running``.

The row of such a run still says ``queued``: the hot path writes a run when it is queued and with each reply, and nothing
in between. What tells of a call is the lease of its job. So where a run is read to be shown, its status and its start are
these expressions, and the instant of the lease is its start until the reply says it more exactly. When the call is lost
with its server, the run is queued again. The engine computes with the row as it is (``load_runs``).

Leases are few, up to the slots of all replicas, and have an index; jobs of one run are found by their primary key.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from stepwell.engine.core.model import UNFINISHED, JobKind, RunStatus
from stepwell.limits import ERROR_SHOWN_BYTES_MAX
from stepwell.store.rows import RUN_COLUMNS

_CALL: Final = ", ".join(f"'{kind.value}'" for kind in JobKind if kind.is_call)
_IN_CALL: Final = (
    "run.id in (select called.run_id from job as called"  # noqa: S608 - fixed pieces
    f" where called.owner is not null and called.kind in ({_CALL}))"
)
# By the run's own jobs. Naming the owner, PostgreSQL would go through the index of leases, which is full of dead entries
# under load, once for each run.
_CALLED_AT: Final = (
    "(select min(called.leased_at) from job as called"  # noqa: S608 - fixed pieces
    f" where called.run_id = run.id and called.leased_at is not null and called.kind in ({_CALL}))"
)

STATUS: Final = f"case when run.status = 'queued' and {_CALLED_AT} is not null then 'running' else run.status end"
"""Of few rows: it looks at the jobs of each."""
STATUS_OF_MANY: Final = f"case when run.status = 'queued' and {_IN_CALL} then 'running' else run.status end"
"""Of many rows: it looks at all calls in progress, once."""
_STARTED_AT: Final = f"case when run.status = 'queued' then {_CALLED_AT} else run.started_at end"
_SHOWN: Final = {"status": STATUS, "started_at": _STARTED_AT}

SHOWN_COLUMNS: Final = ", ".join(_SHOWN.get(column, f"run.{column}") for column in RUN_COLUMNS.split(", "))
"""Of a run, for ``read_run``."""
BRIEF_COLUMNS: Final = SHOWN_COLUMNS.replace(
    " run.output,", f" case when run.status = 'failed' then substr(run.output, 1, {ERROR_SHOWN_BYTES_MAX}) end,"
)
"""Of a run without payloads, but the beginning of what a failed one failed with."""


def in_status(statuses: Set[RunStatus]) -> str:
    """Return the condition for statuses, written out: only so does a database take an index that holds one."""
    if len(statuses & UNFINISHED) != 1:
        return _stored_in(statuses)
    is_of_status = f"run.status = 'queued' and {_IN_CALL}"
    if RunStatus.RUNNING in statuses:
        return f"({_stored_in(statuses)} or {is_of_status})"
    return f"({_stored_in(statuses)} and not ({is_of_status}))"


def _stored_in(statuses: Set[RunStatus]) -> str:
    words = sorted(f"'{status.value}'" for status in statuses)
    return f"run.status = {words[0]}" if len(words) == 1 else f"run.status in ({', '.join(words)})"
