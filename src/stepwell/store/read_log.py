"""The reading verbs of lines and spans, as plans (``read.py``).

Lines of one run are few and beside each other. Those of all runs are walked by their ids; a search through them looks at
so many, found or not, and the next page goes on from there.
"""

from __future__ import annotations

import string

from stepwell.engine.core.model import Span
from stepwell.limits import LOG_SCANNED_MAX, SPANS_PER_RUN_MAX, SPANS_SHOWN_BYTES_MAX
from stepwell.protocol.ids import AttemptId, RunId
from stepwell.protocol.logs import left_out
from stepwell.store.found import LogFilter, LogPage
from stepwell.store.query import Statement
from stepwell.store.read import Reading, Text
from stepwell.store.rows import LOG_COLUMNS, read_line, read_span

_LOWEST, _HIGHEST = "", "~"  # of all ids
_SOUGHT = str.maketrans(string.ascii_uppercase, string.ascii_lowercase) | str.maketrans(
    {"\\": "\\\\", "%": "\\%", "_": "\\_"}
)
"""What ``lower`` makes of a text, which on both databases leaves letters beyond ASCII as they are; and ``like``'s escapes."""


def list_lines(which: LogFilter) -> Reading[LogPage]:
    """Return a page of lines."""
    is_back = which.after is None and (which.run_id is None or which.before is not None)
    end = yield from _end_of_search(which, is_back=is_back)
    where, values = _conditions(which)
    if end is not None:
        where.append(f"log.id {'>=' if is_back else '<='} ?")
        values.append(end)
    order = "desc" if is_back else "asc"
    rows = yield Text(
        f"select {LOG_COLUMNS} from log join run on run.id = log.run_id"  # noqa: S608 - fixed pieces
        f" where {' and '.join(where)} order by log.id {order} limit {which.limit + 1:d}",
        values,
    )
    lines = [read_line(row) for row in rows[: which.limit]]
    following = lines[-1].id if len(rows) > which.limit else end
    if is_back is (which.run_id is not None):
        lines.reverse()
    return LogPage(lines, following)


def _end_of_search(which: LogFilter, *, is_back: bool) -> Reading[str | None]:
    """Return the last line that a search through all runs looks at; None where it comes to the end before that."""
    looked_for = (which.function_id, which.attempt_id, which.step_id, which.text, which.level_min or None)
    is_search = not which.with_replayed or any(one is not None for one in looked_for)
    if which.run_id is not None or not is_search:
        return None
    if is_back:
        before = min(which.before or _HIGHEST, which.taken_until or _HIGHEST)
        rows = yield Statement("log_floor", parameters={"before": before, "number": LOG_SCANNED_MAX - 1})
    else:
        after = max(which.after or _LOWEST, which.taken_from or _LOWEST)
        rows = yield Statement("log_ceiling", parameters={"after": after, "number": LOG_SCANNED_MAX - 1})
    return rows[0][0] if rows else None


def _conditions(which: LogFilter) -> tuple[list[str], list[str | int]]:
    found: list[tuple[str, str | int | None]] = [
        ("log.run_id = ?", which.run_id),
        ("run.function_id = ?", which.function_id),
        ("log.attempt_id = ?", which.attempt_id),
        ("log.step_id = ?", which.step_id),
        ("log.level >= ?", which.level_min or None),
        ("log.id > ?", which.after),
        ("log.id < ?", which.before),
        ("log.id >= ?", which.taken_from),
        ("log.id < ?", which.taken_until),
        (
            "lower(log.message) like ? escape '\\'",
            f"%{which.text.translate(_SOUGHT)}%" if which.text is not None else None,
        ),
    ]
    where = ["run.environment = ?", *(condition for condition, value in found if value is not None)]
    if not which.with_replayed:
        where.append("log.is_replayed = 0")
    return where, [which.environment, *(value for _, value in found if value is not None)]


def count_lines(run_id: RunId) -> Reading[int]:
    """Return how many lines came for a run."""
    rows = yield Statement("log_tally_load", parameters={"run_id": run_id})
    return rows[0][0] if rows else 0


def load_spans(run_id: RunId) -> Reading[tuple[list[Span], dict[AttemptId, str]]]:
    """Return a run's spans, and its attempts, each with the id of its step.

    Where the attributes are many, those of the later spans are left out, which they say.
    """
    limits = {"limit": SPANS_PER_RUN_MAX, "bytes_max": SPANS_SHOWN_BYTES_MAX}
    rows = yield Statement("span_load", parameters={"run_id": run_id, **limits})
    attempts = yield Statement("attempt_names", parameters={"run_id": run_id})
    spans = [
        read_span((*row[:7], row[7] if row[7] is not None or row[8] is None else left_out(row[8]))) for row in rows
    ]
    return spans, {AttemptId(row[0]): row[1] for row in attempts}
