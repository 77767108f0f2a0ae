"""Reading plans of lists, newest first: bounded, however much history there is.

A list of runs is put together from *streams*: each gives ids in falling order, by an index. What a stream's index
doesn't decide is looked at row by row, for ``RUNS_SCANNED_MAX`` rows at most; where that wasn't enough to fill a page,
the page says how far the search has got, and the next one goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final, NamedTuple, TypeAlias

from stepwell.engine.core.model import UNFINISHED, Event, GatherKind, Run, RunStatus
from stepwell.limits import (
    CAUSED_SHOWN_MAX,
    EVENTS_SCANNED_MAX,
    MINUTE_MS,
    PREVIEWED_BYTES_MAX,
    RARE_EVENTS_MAX,
    RUNS_SCANNED_MAX,
    WHERE_BYTES_MAX,
)
from stepwell.protocol.ids import EventId, FunctionId, RunId, first_ulid
from stepwell.store.begun import BRIEF_COLUMNS, SHOWN_COLUMNS, STATUS, in_status
from stepwell.store.found import (
    CausedRun,
    EventFilter,
    FoundEvents,
    FoundRuns,
    OpenGathering,
    RunContent,
    RunFilter,
)
from stepwell.store.query import Statement
from stepwell.store.read import Reading, Text
from stepwell.store.rows import EVENT_COLUMNS, read_event, read_run

Value: TypeAlias = str | int | bytes

_FUNCTIONS_MERGED_MAX: Final = 20  # streams of one list; of more functions, runs are looked for among all
_ID_SKEW_MS: Final = MINUTE_MS  # between the time in an id and the time of its row, of different clocks
_EVENT_ID_SKEW_MS: Final = 10 * MINUTE_MS  # likewise: a sender that tries again keeps the id that it chose
_EVENT_BRIEF_COLUMNS: Final = EVENT_COLUMNS.replace("body, original", "substr(body, 1, 0), null")
# A database takes an index of one status only when the status is written out.
_RARE: Final = (RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.SKIPPED)


class Term(NamedTuple):
    """A condition, with ``?`` for each value."""

    text: str
    values: tuple[Value, ...] = ()


# A run may have several jobs: it is listed by the first.
_FIRST_JOB: Final = Term(
    "run.id = job.run_id and not exists (select 1 from job as more where more.run_id = job.run_id and more.id < job.id)"
)


class _Stream(NamedTuple):
    """Ids in falling order."""

    walked: str
    """The table whose index gives them."""
    found: tuple[Term, ...]
    """What the index decides."""
    rest: tuple[Term, ...]
    """What has to be looked at."""
    key: str = "run.id"
    source: str = "run"
    joins: tuple[Term, ...] = ()


def list_runs(which: RunFilter) -> Reading[list[Run]]:
    """Return a page of runs, newest first, as they are."""
    ids, _ = yield from _run_ids(which)
    return (yield from _runs(ids, SHOWN_COLUMNS))


def find_runs(which: RunFilter) -> Reading[FoundRuns]:
    """Return a page of runs, newest first, without payloads."""
    ids, searched_to = yield from _run_ids(which)
    return (yield from _found(ids, searched_to))


def runs_by_id(environment: str, ids: Sequence[RunId]) -> Reading[FoundRuns]:
    """Return some runs, newest first; ids that aren't there are left out."""
    found = yield from _found(sorted(set(ids), reverse=True), None)
    return found._replace(runs=[run for run in found.runs if run.environment == environment])


def brief_runs(ids: Sequence[RunId]) -> Reading[list[Run]]:
    """Return some runs without payloads, newest first."""
    return (yield from _runs(ids, BRIEF_COLUMNS))


def _found(ids: Sequence[RunId], searched_to: RunId | None) -> Reading[FoundRuns]:
    runs = yield from _runs(ids, BRIEF_COLUMNS)
    names = yield Statement("event_names", [(id,) for id in sorted({run.event_id for run in runs})])
    return FoundRuns(runs, {EventId(row[0]): row[1] for row in names}, searched_to)


def _runs(ids: Sequence[RunId], columns: str) -> Reading[list[Run]]:
    if not ids:
        return []
    rows = yield Text(
        f"select {columns} from run where id in ({_marks(ids)}) order by id desc",  # noqa: S608
        ids,
    )
    return [read_run(row) for row in rows]


def _run_ids(which: RunFilter) -> Reading[tuple[list[RunId], RunId | None]]:
    """Return a page of ids, and how far the search got where it was broken off."""
    if which.function_ids is not None and not which.function_ids:
        return [], None
    of_event = (yield from _of_event(which.event_id)) if which.event_id is not None else None
    named: Term | None = None
    if which.event_name is not None:
        named, is_found = yield from _triggered_by(which.environment, which.event_name)
        if is_found and of_event is None:
            of_event, named = named, None
    found: set[RunId] = set()
    floors: list[RunId] = []
    for stream in _streams(which, of_event, named):
        ids, floor = yield from _walk(stream, which)
        found.update(ids)
        if floor is not None and len(ids) < which.limit:
            floors.append(floor)
    # Below the highest of these, one of the streams may have more.
    searched_to = max(floors, default=None)
    page = sorted((id for id in found if searched_to is None or id >= searched_to), reverse=True)[: which.limit]
    return page, searched_to if len(page) < which.limit else None


def _walk(stream: _Stream, which: RunFilter) -> Reading[tuple[list[RunId], RunId | None]]:
    """Return the newest ids of a stream, and where the search ends if that isn't the end of the stream."""
    floor: list[Term] = []
    if stream.rest:
        counted = [*stream.found, *_ids_between(which, stream.key, skew_ms=0)]
        offset = (which.scanned_max or RUNS_SCANNED_MAX) - 1
        rows = yield _selection(stream.key, stream.walked, counted, f"limit 1 offset {offset:d}")
        floor = [Term(f"{stream.key} >= ?", (row[0],)) for row in rows]
    terms = [*stream.found, *_ids_between(which, stream.key, skew_ms=_ID_SKEW_MS), *floor, *stream.joins, *stream.rest]
    rows = yield _selection(stream.key, stream.source, terms, f"limit {which.limit:d}")
    return [RunId(row[0]) for row in rows], RunId(str(floor[0].values[0])) if floor else None


def _selection(key: str, source: str, terms: Sequence[Term], limit: str) -> Text:
    where = " and ".join(term.text for term in terms) or "1 = 1"
    return Text(
        f"select {key} from {source} where {where} order by {key} desc {limit}",  # noqa: S608 - fixed pieces
        [value for term in terms for value in term.values],
    )


def _streams(which: RunFilter, of_event: Term | None, named: Term | None) -> Iterator[_Stream]:
    """Choose streams that together hold all runs of a filter."""
    environment = Term("run.environment = ?", (which.environment,))
    functions, statuses = which.function_ids, which.statuses
    of_functions = _one_of("run.function_id", functions) if functions is not None else None
    of_statuses = _in_status(statuses) if statuses else None
    rest = _given(named, *_queued(which), *_holding(which))
    if of_event is not None:
        yield _Stream("run", (of_event, environment, *_given(of_functions, of_statuses), *rest), ())
    elif not statuses or RunStatus.COMPLETED in statuses:
        if functions is not None and len(functions) <= _FUNCTIONS_MERGED_MAX:
            for id in functions:
                yield _Stream("run", (Term("run.function_id = ?", (id,)),), _given(of_statuses, *rest))
        else:
            yield _Stream("run", (environment,), _given(of_functions, of_statuses, *rest))
    else:
        for status in _RARE:
            if status in statuses:
                yield _Stream("run", (_in_status({status}), environment), _given(of_functions, *rest))
        if statuses & UNFINISHED:
            yield _Stream(
                "job",
                (),
                _given(of_functions, _in_status(statuses & UNFINISHED), *rest),
                key="job.run_id",
                source="job cross join run",
                joins=(_FIRST_JOB, environment),
            )


def _given(*terms: Term | None) -> tuple[Term, ...]:
    return tuple(term for term in terms if term is not None)


def _one_of(column: str, values: Sequence[str]) -> Term:
    return Term(f"{column} in ({_marks(values)})", tuple(values))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _in_status(statuses: Set[RunStatus]) -> Term:
    return Term(in_status(statuses))


def _queued(which: RunFilter) -> Iterator[Term]:
    if which.queued_from is not None:
        yield Term("run.queued_at >= ?", (which.queued_from,))
    if which.queued_until is not None:
        yield Term("run.queued_at < ?", (which.queued_until,))


def _holding(which: RunFilter) -> Iterator[Term]:
    if which.needles:
        found = " and ".join(["instr(event.body, ?) > 0"] * len(which.needles))
        # Of a batch, a condition looks at its first event.
        yield Term(f"exists (select 1 from event where event.id = run.event_id and {found})", which.needles)  # noqa: S608


def _ids_between(which: RunFilter, key: str, *, skew_ms: int) -> Iterator[Term]:
    """Bound a search by time, by what the ids tell of it."""
    if which.before is not None:
        yield Term(f"{key} < ?", (which.before,))
    if which.queued_from is not None:
        yield Term(f"{key} >= ?", (first_ulid(which.queued_from - which.delay_ms_max - skew_ms),))
    if which.queued_until is not None:
        yield Term(f"{key} < ?", (first_ulid(which.queued_until + skew_ms),))


def _of_event(id: str) -> Reading[Term]:
    """Return the condition for an event's runs: those that it started, and those of the batches that it is in."""
    batches = yield Text("select run_id from gathered where event_id = ?", (id,))
    if not batches:
        return Term("run.event_id = ?", (id,))
    ids = [row[0] for row in batches]
    return Term(f"(run.event_id = ? or run.is_batch = 1 and run.id in ({_marks(ids)}))", (id, *ids))


def _triggered_by(environment: str, name: str) -> Reading[tuple[Term, bool]]:
    """Return the condition for an event's name, and whether an index decides it, as it does for a rare one.

    The runs of few events are found by their ids; those of many come soon when the newest runs are gone through.
    """
    rows = yield Text(
        "select id from event where environment = ? and name = ? order by id desc limit ?",
        (environment, name, RARE_EVENTS_MAX + 1),
    )
    if len(rows) > RARE_EVENTS_MAX:
        return Term("exists (select 1 from event where event.id = run.event_id and event.name = ?)", (name,)), False
    return _one_of("run.event_id", [row[0] for row in rows]) if rows else Term("1 = 0"), True


def list_events(which: EventFilter) -> Reading[list[Event]]:
    """Return a page of events, newest first."""
    ids, _ = yield from _event_ids(which)
    return (yield from _events(ids, EVENT_COLUMNS))


def find_events(which: EventFilter) -> Reading[FoundEvents]:
    """Return a page of events, newest first, without payloads."""
    ids, searched_to = yield from _event_ids(which)
    events = yield from _events(ids, _EVENT_BRIEF_COLUMNS)
    return FoundEvents(events, (yield from _caused(ids)), (yield from _waiting_in(ids)), searched_to)


def events_by_id(environment: str, ids: Sequence[EventId]) -> Reading[FoundEvents]:
    """Return some events, newest first; ids that aren't there are left out."""
    found = yield from _events(ids, _EVENT_BRIEF_COLUMNS)
    events = [event for event in found if event.environment == environment]
    own = [event.id for event in events]
    return FoundEvents(events, (yield from _caused(own)), (yield from _waiting_in(own)), None)


def _events(ids: Sequence[EventId], columns: str) -> Reading[list[Event]]:
    if not ids:
        return []
    rows = yield Text(
        f"select {columns} from event where id in ({_marks(ids)}) order by id desc",  # noqa: S608 - fixed pieces
        ids,
    )
    return [read_event(row) for row in rows]


def _event_ids(which: EventFilter) -> Reading[tuple[list[EventId], EventId | None]]:
    """Return a page of ids, and how far the search got where it was broken off."""
    found = [Term("environment = ?", (which.environment,))]
    if which.name is not None:
        found.append(Term("name = ?", (which.name,)))
    rest: list[Term] = []
    if which.received_from is not None:
        rest.append(Term("received_at >= ?", (which.received_from,)))
    if which.received_until is not None:
        rest.append(Term("received_at < ?", (which.received_until,)))
    if not which.with_internal:
        rest.append(Term("is_internal = 0"))
    rest += [Term("instr(body, ?) > 0", (needle,)) for needle in which.needles]
    floor: list[Term] = []
    if rest:
        offset = (which.scanned_max or EVENTS_SCANNED_MAX) - 1
        counted = [*found, *_event_ids_between(which, skew_ms=0)]
        rows = yield _selection("id", "event", counted, f"limit 1 offset {offset:d}")
        floor = [Term("id >= ?", (row[0],)) for row in rows]
    terms = [*found, *_event_ids_between(which, skew_ms=_EVENT_ID_SKEW_MS), *floor, *rest]
    rows = yield _selection("id", "event", terms, f"limit {which.limit:d}")
    searched_to = EventId(str(floor[0].values[0])) if floor and len(rows) < which.limit else None
    return [EventId(row[0]) for row in rows], searched_to


def _event_ids_between(which: EventFilter, *, skew_ms: int) -> Iterator[Term]:
    """Bound a search by time, by what the ids tell of it."""
    if which.before is not None:
        yield Term("id < ?", (which.before,))
    if which.received_from is not None:
        yield Term("id >= ?", (first_ulid(which.received_from - skew_ms),))
    if which.received_until is not None:
        yield Term("id < ?", (first_ulid(which.received_until + skew_ms),))


def _caused(ids: Sequence[EventId]) -> Reading[dict[EventId, list[CausedRun]]]:
    """Return the first runs of each event."""
    if not ids:
        return {}
    rows = yield Text(
        "select event_id, id, function_id, status from ("  # noqa: S608 - fixed pieces
        "select caused.*, row_number() over (partition by caused.event_id order by caused.id) as place from ("
        f"select event_id, id, function_id, {STATUS} as status from run where event_id in ({_marks(ids)})"
        f" union select gathered.event_id, run.id, run.function_id, {STATUS} from gathered"
        f" join run on run.id = gathered.run_id where gathered.event_id in ({_marks(ids)})"
        f") as caused) as placed where place <= {CAUSED_SHOWN_MAX:d} order by event_id, id",
        (*ids, *ids),
    )
    found: dict[EventId, list[CausedRun]] = {}
    for event_id, id, function_id, status in rows:
        found.setdefault(EventId(event_id), []).append(CausedRun(RunId(id), FunctionId(function_id), RunStatus(status)))
    return found


def _waiting_in(ids: Sequence[EventId]) -> Reading[dict[EventId, list[OpenGathering]]]:
    """Return the first batches and debounces that each event waits in."""
    if not ids:
        return {}
    rows = yield Text(
        "select event_id, run_id, function_id, kind, due_at from ("  # noqa: S608 - fixed pieces
        "select gathered.event_id, gathering.run_id, gathering.function_id, gathering.kind, gathering.due_at,"
        " row_number() over (partition by gathered.event_id order by gathering.run_id) as place"
        " from gathered join gathering on gathering.run_id = gathered.run_id"
        f" where gathered.event_id in ({_marks(ids)})"
        f") as placed where place <= {CAUSED_SHOWN_MAX:d} order by event_id, run_id",
        ids,
    )
    found: dict[EventId, list[OpenGathering]] = {}
    for event_id, run_id, function_id, kind, due_at in rows:
        one = OpenGathering(RunId(run_id), FunctionId(function_id), GatherKind(kind), due_at)
        found.setdefault(EventId(event_id), []).append(one)
    return found


def run_contents(ids: Sequence[RunId]) -> Reading[tuple[int, dict[RunId, RunContent]]]:
    """Return the contents of the first of some runs, up to a number of bytes."""
    rows = yield Text(
        "select run.id, length(event.body) + coalesce(length(run.output), 0) from run"  # noqa: S608 - fixed pieces
        f" join event on event.id = run.event_id where run.id in ({_marks(ids)})",
        ids,
    )
    first = _readable(ids, {row[0]: row[1] for row in rows})
    rows = yield Text(
        "select run.id, event.body, run.output from run join event on event.id = run.event_id"  # noqa: S608
        f" where run.id in ({_marks(first)})",
        first,
    )
    return len(first), {RunId(row[0]): RunContent(row[1], row[2]) for row in rows}


def event_bodies(ids: Sequence[EventId]) -> Reading[tuple[int, dict[EventId, bytes]]]:
    """Return the bodies of the first of some events, up to a number of bytes."""
    rows = yield Text(f"select id, length(body) from event where id in ({_marks(ids)})", ids)  # noqa: S608
    first = _readable(ids, {row[0]: row[1] for row in rows})
    rows = yield Text(f"select id, body from event where id in ({_marks(first)})", first)  # noqa: S608 - fixed pieces
    return len(first), {EventId(row[0]): row[1] for row in rows}


def small_events(ids: Sequence[EventId]) -> Reading[dict[EventId, tuple[bytes, bytes | None]]]:
    """Return the bodies and originals of those of some events that are small."""
    if not ids:
        return {}
    rows = yield Text(
        f"select id, body, original from event where id in ({_marks(ids)})"  # noqa: S608 - fixed pieces
        f" and length(body) <= {PREVIEWED_BYTES_MAX:d}",
        ids,
    )
    return {EventId(row[0]): (row[1], row[2]) for row in rows}


def _readable(ids: Sequence[str], sizes: Mapping[str, int]) -> Sequence[str]:
    """Return the first of some ids that have ``WHERE_BYTES_MAX`` together, or the first alone."""
    total = 0
    for number, id in enumerate(ids):
        total += sizes.get(id, 0)
        if total > WHERE_BYTES_MAX and number:
            return ids[:number]
    return ids
