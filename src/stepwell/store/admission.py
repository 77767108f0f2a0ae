"""What is asked before runs start, in the transaction that starts them (protocol 11): a plan without I/O.

In this order: is the function paused, did the event id or the idempotency value start it before, is its rate over the limit,
does the event join others, does another run of a singleton go on. The keys are locked with the fence (``locks.py``), so that
what is read here holds until the commit. The rules are pure (``core/flow.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final, NamedTuple

from stepwell.engine.core.flow import gather, is_full, rate_expiry, rate_limit
from stepwell.engine.core.model import Event, Gathering, GatherKind, Job, JobKind, Run, SingletonMode, Start
from stepwell.engine.core.partition import TIMERS
from stepwell.limits import EVENT_ID_WINDOW_MS
from stepwell.protocol.ids import EventId, JobId, RunId
from stepwell.store.query import Statement
from stepwell.store.rows import Row, gathering_row, read_gathering

DUPLICATE_EVENT: Final = "duplicate_event_id"
IDEMPOTENCY: Final = "idempotency"
RATE_LIMITED: Final = "rate_limited"
SINGLETON: Final = "singleton"


class Asked(NamedTuple):
    """A start with its event, and the time at which it is asked: what was kept waiting by an outage counts from then."""

    event: Event
    start: Start
    at: int
    is_again: bool = False
    """The event is an old one, which is started again: its id is no reason to skip."""


class Admitted:
    """What came of it."""

    def __init__(self) -> None:
        self.skipped: dict[RunId, str] = {}
        self.gathered: dict[RunId, RunId] = {}
        self.gatherings: dict[RunId, Gathering] = {}
        self.cancels: dict[RunId, Job] = {}
        """Runs of singletons that are cancelled for a new one, each with the job that does it."""


def admission_keys(start: Start) -> list[str]:
    """Return the keys that must be locked to decide on a start."""
    admission = start.admission
    if admission is None:
        return []
    keys: list[str] = []
    if admission.rate is not None:
        keys.append(_rate_key(start))
    if admission.gather is not None:
        keys.append(_gather_key(start))
    if admission.singleton is not None:
        keys.append(_singleton_key(start))
    return keys


def admit(asked: Sequence[Asked]) -> Generator[Statement, Sequence[Row], Admitted]:
    """Decide on starts, in their order."""
    admitted = Admitted()
    for one in asked:
        if one.start.admission is not None and one.start.admission.skip_reason is not None:
            admitted.skipped[one.start.run.id] = one.start.admission.skip_reason
    yield from _take_windows(asked, _event_window, DUPLICATE_EVENT, admitted)
    yield from _take_windows(asked, _idempotency_window, IDEMPOTENCY, admitted)
    limited = [one for one in asked if one.start.admission is not None]
    if limited:
        yield from _limit_rates(limited, admitted)
        yield from _gather(limited, admitted)
        yield from _single_out(limited, admitted)
    return admitted


def _going(asked: Sequence[Asked], admitted: Admitted) -> list[Asked]:
    return [
        one for one in asked if one.start.run.id not in admitted.skipped and one.start.run.id not in admitted.gathered
    ]


def _event_window(one: Asked) -> str | None:
    admission = one.start.admission
    is_batched = admission is not None and admission.gather is not None and admission.gather.kind is GatherKind.BATCH
    return one.event.event_id if one.event.has_own_id and not one.is_again and not is_batched else None


def _idempotency_window(one: Asked) -> str | None:
    admission = one.start.admission
    return f"={admission.idempotency}" if admission is not None and admission.idempotency is not None else None


def _take_windows(
    asked: Sequence[Asked], window_of: Callable[[Asked], str | None], reason: str, admitted: Admitted
) -> Generator[Statement, Sequence[Row], None]:
    """Take 24-hour windows, of event ids or of idempotency values; the runs of those that are taken are skipped."""
    wanted: dict[tuple[str, str], tuple[RunId, int]] = {}
    for one in asked:
        run = one.start.run
        window = window_of(one)
        if window is None or run.id in admitted.skipped:
            continue
        if (run.function_id, window) in wanted:
            admitted.skipped[run.id] = reason
        else:
            wanted[run.function_id, window] = (run.id, one.event.received_at)
    if not wanted:
        return
    now = min(at for _, at in wanted.values())
    rows = sorted((*key, at + EVENT_ID_WINDOW_MS) for key, (_, at) in wanted.items())
    found = yield Statement("event_key_take", rows, {"now": now})
    taken = {(row[0], row[1]) for row in found}
    for key, (run_id, _) in wanted.items():
        if key not in taken:
            admitted.skipped[run_id] = reason


def _limit_rates(asked: Sequence[Asked], admitted: Admitted) -> Generator[Statement, Sequence[Row], None]:
    limited = [
        (one, rate)
        for one in _going(asked, admitted)
        if one.start.admission is not None and (rate := one.start.admission.rate) is not None
    ]
    if not limited:
        return
    keys = sorted({_rate_key(one.start) for one, _ in limited})
    found = yield Statement("flow_load", [(key,) for key in keys])
    states: dict[str, bytes] = {row[0]: row[1] for row in found}
    expiries: dict[str, int] = {}
    for one, rate in limited:
        key = _rate_key(one.start)
        at = one.at
        states[key], is_admitted = rate_limit(states.get(key), limit=rate.limit, period_ms=rate.period_ms, now=at)
        expiries[key] = rate_expiry(states[key], period_ms=rate.period_ms)
        if not is_admitted:
            admitted.skipped[one.start.run.id] = RATE_LIMITED
    yield Statement("flow_save", [(key, states[key], expiries[key]) for key in keys])


def _gather(asked: Sequence[Asked], admitted: Admitted) -> Generator[Statement, Sequence[Row], None]:
    joining = [
        (one, admission.gather)
        for one in _going(asked, admitted)
        if (admission := one.start.admission) is not None and admission.gather is not None
    ]
    if not joining:
        return
    keys = sorted({(one.start.run.function_id, _gather_key(one.start)) for one, _ in joining})
    found = yield Statement("gathering_load", keys)
    open_ones: dict[str, Gathering] = {row[4]: read_gathering(row) for row in found}
    changed: dict[RunId, tuple[Gathering, bool]] = {}
    events: list[tuple[RunId, EventId]] = []
    for one, want in joining:
        key, run = _gather_key(one.start), one.start.run
        gathering = gather(
            open_ones.get(key),
            want,
            key=key,
            run_id=run.id,
            environment=run.environment,
            function_id=run.function_id,
            event_bytes=len(one.event.body),
            now=one.at,
        )
        is_open = not is_full(gathering, want)
        changed[gathering.run_id] = (gathering, is_open)
        if is_open:
            open_ones[key] = gathering
        else:
            open_ones.pop(key, None)
        events.append((gathering.run_id, one.event.id))
        admitted.gathered[run.id] = gathering.run_id
        admitted.gatherings[gathering.run_id] = gathering
    yield Statement("gathered_insert", events)
    yield Statement(
        "gathering_save", [gathering_row(gathering, is_open=is_open) for gathering, is_open in changed.values()]
    )


def _single_out(asked: Sequence[Asked], admitted: Admitted) -> Generator[Statement, Sequence[Row], None]:
    """Take the slots of singletons. In mode cancel the old run keeps it to its end: the new one waits for that in the queue."""
    single = [
        (one, admission.singleton)
        for one in _going(asked, admitted)
        if (admission := one.start.admission) is not None and admission.singleton is not None
    ]
    if not single:
        return
    keys = sorted({_singleton_key(one.start) for one, _ in single})
    found = yield Statement("slot_holders", [(key,) for key in keys])
    holders: dict[str, set[RunId]] = {}
    for key, run_id in found:
        holders.setdefault(key, set()).add(RunId(run_id))
    taken: list[tuple[str, RunId, str]] = []
    for one, singleton in single:
        run = one.start.run
        key = _singleton_key(one.start)
        others = holders.setdefault(key, set())
        if others and singleton.mode is SingletonMode.SKIP:
            admitted.skipped[run.id] = SINGLETON
            continue
        for other in others:
            admitted.cancels[other] = _cancel_job(other, run)
        others.clear()
        others.add(run.id)
        taken.append((key, run.id, ""))
    yield Statement("slot_insert", taken)


def _cancel_job(run_id: RunId, newer: Run) -> Job:
    return Job(
        run_id=run_id,
        id=JobId(f"cancel.{newer.id}"),
        partition=TIMERS,
        kind=JobKind.CANCEL,
        step_id="",
        title=SINGLETON,
        due_at=newer.queued_at,
        created_at=newer.queued_at,
        max_attempts=1,
    )


def _rate_key(start: Start) -> str:
    assert start.admission is not None and start.admission.rate is not None
    return f"rate/{start.run.function_id}/{start.admission.rate.key}"


def _gather_key(start: Start) -> str:
    assert start.admission is not None and start.admission.gather is not None
    gather = start.admission.gather
    return f"{gather.kind}/{start.run.function_id}/{gather.key}"


def _singleton_key(start: Start) -> str:
    assert start.admission is not None and start.admission.singleton is not None
    return f"{start.run.function_id}/{start.admission.singleton.key}"
