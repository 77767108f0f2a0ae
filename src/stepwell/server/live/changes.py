"""What pages ask to hear, what has changed, and what of it a page is told. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from stepwell.errors import UsageError
from stepwell.limits import STREAM_ITEMS_MAX, STREAM_TOPICS_MAX
from stepwell.protocol.ids import EventId, RunId
from stepwell.store.interface import Changed, Viewing

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


class Batch:
    """What changed in a short time. It grows until it is closed, then it is kept for those who resume.

    Of runs, events and lines that nobody asks for one by one it holds ``STREAM_ITEMS_MAX`` each: of more it only notes
    that there were.
    """

    __slots__ = ("events", "has_functions", "has_more_events", "has_more_runs", "is_doubtful", "runs")

    def __init__(self) -> None:
        self.runs: dict[RunId, bool] = {}
        """Each with whether it is new."""
        self.events: dict[EventId, None] = {}
        self.has_functions = self.has_more_runs = self.has_more_events = False
        self.is_doubtful = False
        """Something changed of which nobody knows what."""

    def add_run(self, id: RunId, *, is_new: bool, is_asked_for: bool) -> None:
        """Note a run that changed; ``is_asked_for`` by its id."""
        if id in self.runs:
            self.runs[id] |= is_new
        elif is_asked_for or len(self.runs) < STREAM_ITEMS_MAX:
            self.runs[id] = is_new
        else:
            self.has_more_runs = True

    def add_event(self, id: EventId) -> None:
        """Note an event that came, or of which more became."""
        if id in self.events or len(self.events) < STREAM_ITEMS_MAX:
            self.events[id] = None
        else:
            self.has_more_events = True

    @property
    def is_empty(self) -> bool:
        return not (
            self.runs
            or self.events
            or self.has_functions
            or self.has_more_runs
            or self.has_more_events
            or self.is_doubtful
        )


def told_to_others(batch: Batch, views: Iterable[Viewing]) -> Changed | None:
    """Return what other replicas are told of a batch, with what their pages ask for; None when it is nothing."""
    has_runs = has_events = False
    run_ids: set[RunId] = set()
    for view in views:
        has_runs |= view.runs
        has_events |= view.events
        run_ids.update(view.run_ids)
    runs = {id: is_new for id, is_new in batch.runs.items() if has_runs or id in run_ids}
    changed = Changed(
        new_runs=[id for id, is_new in runs.items() if is_new],
        runs=[id for id, is_new in runs.items() if not is_new],
        events=list(batch.events) if has_events else (),
        has_more_runs=has_runs and batch.has_more_runs,
        has_more_events=has_events and batch.has_more_events,
        is_doubtful=batch.is_doubtful,
    )
    return changed if any(changed) else None


class RunChange(msgspec.Struct, frozen=True):
    """A run that was started, or of which something changed."""

    id: str
    is_new: bool


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since the message before. ``is_partial``: more than is said here, so that all must be read again."""

    runs: Sequence[RunChange] = ()
    events: Sequence[str] = ()
    functions: bool = False
    """Functions were synced, paused or resumed."""
    is_partial: bool = False


def told(batches: Iterable[Batch], topics: Topics) -> Changes | None:
    """Put together what a page with these topics is told of some batches; None when it is nothing."""
    runs: dict[RunId, bool] = {}
    events: dict[EventId, None] = {}
    has_functions = is_partial = False
    for batch in batches:
        if topics.runs and len(runs) <= STREAM_ITEMS_MAX:
            for id, is_new in batch.runs.items():
                runs[id] = runs.get(id, False) or is_new
            is_partial |= batch.has_more_runs
        elif topics.runs:
            is_partial = True
        else:
            runs |= {id: batch.runs[id] for id in topics.run_ids if id in batch.runs}
        if topics.events and len(events) <= STREAM_ITEMS_MAX:
            events |= batch.events
            is_partial |= batch.has_more_events
        has_functions |= topics.functions and batch.has_functions
        is_partial |= batch.is_doubtful
    is_partial |= max(len(runs), len(events)) > STREAM_ITEMS_MAX
    if not (runs or events or has_functions or is_partial):
        return None
    return Changes(
        runs=[RunChange(id, is_new) for id, is_new in runs.items()][:STREAM_ITEMS_MAX],
        events=list(events)[:STREAM_ITEMS_MAX],
        functions=has_functions,
        is_partial=is_partial,
    )
