"""What pages ask to hear, what has changed, and what of it a page is told. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from stepwell.engine.core.model import LogLine
from stepwell.errors import UsageError
from stepwell.limits import STREAM_ITEMS_MAX, STREAM_LINES_BYTES_MAX, STREAM_TOPICS_MAX
from stepwell.protocol.ids import EventId, RunId
from stepwell.store.news import Changed, Viewing

K = TypeVar("K")
V = TypeVar("V")

_ONE_RUN: Final = "run:"
_LOGS_OF_ONE: Final = "logs:"


class Topics(NamedTuple):
    """What a page asks to hear of."""

    runs: bool = False
    events: bool = False
    functions: bool = False
    logs: bool = False
    run_ids: frozenset[RunId] = frozenset()
    log_run_ids: frozenset[RunId] = frozenset()


def read_topics(text: str) -> Topics:
    """Read a list with commas, such as ``runs,functions`` or ``run:<id>,logs:<id>``. Raises ``UsageError``."""
    parts = [part for part in text.split(",") if part]
    if not parts:
        raise UsageError("a stream needs topics, such as topics=runs,events")
    if len(parts) > STREAM_TOPICS_MAX:
        raise UsageError(f"a stream may have {STREAM_TOPICS_MAX} topics, not {len(parts)}")
    plain: set[str] = set()
    run_ids: set[RunId] = set()
    log_run_ids: set[RunId] = set()
    for part in parts:
        if part in ("runs", "events", "functions", "logs"):
            plain.add(part)
        elif part.startswith(_ONE_RUN) and part != _ONE_RUN:
            run_ids.add(RunId(part.removeprefix(_ONE_RUN)))
        elif part.startswith(_LOGS_OF_ONE) and part != _LOGS_OF_ONE:
            log_run_ids.add(RunId(part.removeprefix(_LOGS_OF_ONE)))
        else:
            raise UsageError(
                f"there is no topic {part[:100]!r}: there are runs, run:<id>, events, functions, logs and logs:<run id>"
            )
    return Topics(
        runs="runs" in plain,
        events="events" in plain,
        functions="functions" in plain,
        logs="logs" in plain,
        run_ids=frozenset(run_ids),
        log_run_ids=frozenset(log_run_ids),
    )


class Wanted(NamedTuple):
    """What any page asks for, here or at another replica."""

    run_ids: frozenset[RunId] = frozenset()
    """Runs of which some page wants to hear in any case."""
    has_logs: bool = False
    """Some page here wants to hear of all lines."""
    log_run_ids: frozenset[RunId] = frozenset()
    """Runs of whose lines some page here wants to hear."""


def wanted(pages: Iterable[Topics], views: Iterable[Viewing]) -> Wanted:
    """Put together what pages here, and those at other replicas, ask for."""
    pages = list(pages)
    none = frozenset[RunId]()
    return Wanted(
        run_ids=none.union(*(page.run_ids for page in pages), *(view.run_ids for view in views)),
        has_logs=any(page.logs for page in pages),
        log_run_ids=none.union(*(page.log_run_ids for page in pages)),
    )


class Batch:
    """What changed in a short time. It grows until it is closed, then it is kept for those who resume.

    Of runs, events and lines it holds ``STREAM_ITEMS_MAX`` each, and of runs that are asked for one by one as many more;
    of what is more it only notes that there was.
    """

    __slots__ = (
        "events",
        "has_functions",
        "has_more_events",
        "has_more_lines",
        "has_more_runs",
        "is_doubtful",
        "line_bytes",
        "line_counts",
        "lines",
        "logged",
        "runs",
    )

    def __init__(self) -> None:
        self.runs: dict[RunId, bool] = {}
        """Each with whether it is new."""
        self.events: dict[EventId, None] = {}
        self.lines: list[LogLine] = []
        self.line_bytes = 0
        self.line_counts: Counter[RunId] = Counter()
        self.logged: dict[RunId, bool] = {}
        """Runs that have new lines, each with whether all of them are here."""
        self.has_functions = self.has_more_runs = self.has_more_events = self.has_more_lines = False
        self.is_doubtful = False
        """Something changed of which nobody knows what."""

    def add_run(self, id: RunId, wanted: Wanted, *, is_new: bool = False) -> None:
        """Note a run that changed."""
        if id in self.runs:
            self.runs[id] |= is_new
        elif len(self.runs) < STREAM_ITEMS_MAX or id in wanted.run_ids:
            self.runs[id] = is_new
        else:
            self.has_more_runs = True

    def add_event(self, id: EventId) -> None:
        """Note an event that came, or of which more became."""
        if id in self.events or len(self.events) < STREAM_ITEMS_MAX:
            self.events[id] = None
        else:
            self.has_more_events = True

    def add_line(self, line: LogLine, wanted: Wanted) -> None:
        """Note a line; it is kept where somebody here asks for it."""
        id = line.run_id
        if id not in self.logged and len(self.logged) >= STREAM_ITEMS_MAX and id not in wanted.log_run_ids:
            self.has_more_lines = True
            return
        is_kept = False
        if self.line_bytes < STREAM_LINES_BYTES_MAX:
            if id in wanted.log_run_ids:
                is_kept = self.line_counts[id] < STREAM_ITEMS_MAX
            elif wanted.has_logs:
                is_kept = len(self.lines) < STREAM_ITEMS_MAX
        if is_kept:
            self.lines.append(line)
            self.line_bytes += len(line.message) + len(line.fields or b"")
            self.line_counts[id] += 1
        self.logged[id] = is_kept and self.logged.get(id, True)

    @property
    def is_empty(self) -> bool:
        has_some = self.runs or self.events or self.logged or self.has_functions or self.is_doubtful
        return not (has_some or self.has_more_runs or self.has_more_events or self.has_more_lines)


class Told(NamedTuple):
    """What one message tells a page."""

    runs: Mapping[RunId, bool]
    """Each with whether it is new."""
    events: Sequence[EventId]
    has_functions: bool
    lines: Sequence[LogLine]
    is_partial: bool
    """There is more than is named."""


def told(batches: Iterable[Batch], topics: Topics) -> Told | None:
    """Put together what a page with these topics is told of some batches; None when it is nothing."""
    runs: dict[RunId, bool] = {}
    events: dict[EventId, None] = {}
    lines: list[LogLine] = []
    has_functions = is_partial = False
    for batch in batches:
        has_functions |= topics.functions and batch.has_functions
        is_partial |= batch.is_doubtful
        if topics.runs:
            is_partial |= _merge(runs, batch.runs) or batch.has_more_runs
        else:
            runs |= {id: runs.get(id, False) or batch.runs[id] for id in topics.run_ids if id in batch.runs}
        if topics.events:
            is_partial |= _merge(events, batch.events) or batch.has_more_events
        if topics.logs or topics.log_run_ids:
            is_partial |= _lines(lines, batch, topics)
    if not (runs or events or lines or has_functions or is_partial):
        return None
    return Told(runs, list(events), has_functions, lines, is_partial)


def _merge(into: dict[K, V], batch: Mapping[K, V]) -> bool:
    """Add what one message has room for; tell whether something was left out."""
    has_left_out = False
    for id, value in batch.items():
        if id in into:
            into[id] = into[id] or value
        elif len(into) < STREAM_ITEMS_MAX:
            into[id] = value
        else:
            has_left_out = True
    return has_left_out


def _lines(into: list[LogLine], batch: Batch, topics: Topics) -> bool:
    """Add the lines that a page asks for, as far as one message has room; tell whether some are left out."""
    if topics.logs:
        mine = batch.lines
        has_left_out = batch.has_more_lines or not all(batch.logged.values())
    else:
        mine = [line for line in batch.lines if line.run_id in topics.log_run_ids]
        has_left_out = not all(batch.logged.get(id, True) for id in topics.log_run_ids)
    room = STREAM_ITEMS_MAX - len(into)
    into += mine[:room]
    return has_left_out or len(mine) > room


def told_to_others(batch: Batch, views: Iterable[Viewing]) -> Changed | None:
    """Return what other replicas are told of a batch, with what their pages ask for; None when it is nothing."""
    has_runs = has_events = has_logs = False
    run_ids: set[RunId] = set()
    log_run_ids: set[RunId] = set()
    for view in views:
        has_runs |= view.runs
        has_events |= view.events
        has_logs |= view.logs
        run_ids.update(view.run_ids)
        log_run_ids.update(view.log_run_ids)
    runs = {id: is_new for id, is_new in batch.runs.items() if has_runs or id in run_ids}
    changed = Changed(
        new_runs=[id for id, is_new in runs.items() if is_new],
        runs=[id for id, is_new in runs.items() if not is_new],
        events=list(batch.events) if has_events else (),
        logged=[id for id in batch.logged if has_logs or id in log_run_ids],
        has_more_runs=has_runs and batch.has_more_runs,
        has_more_events=has_events and batch.has_more_events,
        has_more_lines=(has_logs or bool(log_run_ids)) and batch.has_more_lines,
        is_doubtful=batch.is_doubtful,
    )
    return changed if any(changed) else None
