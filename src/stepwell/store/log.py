"""Lines and spans in a group commit, and steps that have begun: a plan without I/O, after all that runs need.

A run keeps so many lines, and spans, and a row of it counts what comes: one upsert for each run of a request, whichever
replica it came to. The same row keeps the step that the run was last said to be at. Of a run that ended long ago nothing is kept, so that none of it can meet the retention which deletes the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from stepwell.engine.core.model import BegunStep, LogLine, Span
from stepwell.limits import LOG_LATE_MS, LOG_LINES_PER_RUN_MAX, SPANS_PER_RUN_MAX
from stepwell.protocol.ids import EnvironmentId, FunctionId, RunId
from stepwell.store.query import Statement
from stepwell.store.request import Logged, LogRequest
from stepwell.store.rows import Row, begun_row, log_row, span_row

T = TypeVar("T", LogLine, Span)

_WARNING: Final = 30
_NOT_BEGUN: Final[Row] = (None,) * 6


def write_log(request: LogRequest) -> Generator[Statement, Sequence[Row], Logged]:
    """Yield every statement, and return what became of the lines and spans."""
    lines, spans = _by_run(request.lines), _by_run(request.spans)
    told = {step.run_id for step in request.begun}
    rows = yield Statement(
        "log_runs", [(id,) for id in sorted({*lines, *spans, *told})], {"ended_after": request.now - LOG_LATE_MS}
    )
    runs = {RunId(row[0]): (EnvironmentId(row[1]), FunctionId(row[2])) for row in rows}
    if not runs:
        return Logged(frozenset(), ())
    known = [step for step in request.begun if step.run_id in runs]
    begun = (yield from _still_running(known)) if known else {}
    counted = yield Statement(
        "log_count",
        [_counts(id, lines[id], spans[id]) + _begun(begun.get(id)) for id in sorted(runs)],
        {"lines_max": LOG_LINES_PER_RUN_MAX, "spans_max": SPANS_PER_RUN_MAX},
    )
    kept: list[LogLine] = []
    kept_spans: list[Span] = []
    full_of_lines: set[RunId] = set()
    full_of_spans: set[RunId] = set()
    for row in counted:
        id = RunId(row[0])
        line_room: int = LOG_LINES_PER_RUN_MAX - (row[1] - len(lines[id]))
        span_room: int = SPANS_PER_RUN_MAX - (row[2] - len(spans[id]))
        kept += lines[id][: max(0, line_room)]
        kept_spans += spans[id][: max(0, span_room)]
        if line_room < len(lines[id]):
            full_of_lines.add(id)
            if line_room >= 0:
                kept.append(_last_line(lines[id][line_room]))
        if span_room < len(spans[id]):
            full_of_spans.add(id)
    if kept:
        kept.sort(key=lambda line: line.id)
        yield Statement("log_insert", [log_row(line) for line in kept])
    if kept_spans:
        yield Statement("span_insert", sorted((span_row(span) for span in kept_spans), key=lambda row: row[:2]))
    return Logged(
        runs=frozenset(runs),
        lines=[_placed(line, *runs[line.run_id]) for line in kept],
        full_of_lines=frozenset(full_of_lines),
        full_of_spans=frozenset(full_of_spans),
        begun=frozenset(begun),
    )


def _still_running(steps: Sequence[BegunStep]) -> Generator[Statement, Sequence[Row], dict[RunId, BegunStep]]:
    """Return the last step of each run, of those whose calls are under way, and that aren't done."""
    rows: list[Row] = []
    for step in steps:
        job_id, _, generation = step.attempt_id.rpartition(".")
        rows.append((step.run_id, job_id, int(generation), step.step_id))
    found = {tuple(row) for row in (yield Statement("log_begun", sorted(rows)))}
    return {step.run_id: step for step, row in zip(steps, rows, strict=True) if row in found}


def _begun(step: BegunStep | None) -> Row:
    return begun_row(step) if step is not None else _NOT_BEGUN


def _by_run(items: Iterable[T]) -> defaultdict[RunId, list[T]]:
    found: defaultdict[RunId, list[T]] = defaultdict(list)
    for item in items:
        found[item.run_id].append(item)
    return found


def _counts(id: RunId, lines: Sequence[LogLine], spans: Sequence[Span]) -> Row:
    line_bytes = sum(len(line.message) + len(line.fields or b"") for line in lines)
    span_bytes = sum(len(span.name) + len(span.attributes or b"") for span in spans)
    return (id, len(lines), line_bytes, len(spans), span_bytes)


def _last_line(dropped: LogLine) -> LogLine:
    """Make the line that stands in place of the first one that is too many."""
    return LogLine(
        id=dropped.id,
        run_id=dropped.run_id,
        at=dropped.at,
        level=_WARNING,
        logger="stepwell",
        message=f"this run has written {LOG_LINES_PER_RUN_MAX} lines, the most that are kept: those that follow are dropped",
    )


def _placed(line: LogLine, environment: EnvironmentId, function_id: FunctionId) -> LogLine:
    return msgspec.structs.replace(line, environment=environment, function_id=function_id)
