"""Proves that every run that hasn't ended has something which brings it on, and that nothing holds what nobody has.

It *walks* what is open (runs that haven't ended, jobs, waits, slots, gatherings) by its keys, a piece at a time, at start and
every minute; a walk that is longer than a minute's share goes on in the next. What breaks a promise is a bug, or somebody's
hand in the database: it is mended, logged, and shown by ``stepwell doctor``. On the way it deletes what has expired.

Every replica does this. What it finds is looked at again in the transaction that mends it, so that two at once do no harm.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import Job
from stepwell.engine.core.revive import revive
from stepwell.engine.intake import Registries
from stepwell.errors import StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import CHECK_ROWS_MAX, CHECKS_MAX
from stepwell.protocol.ids import RunId
from stepwell.store.found import Checked, Fault, Walk
from stepwell.store.interface import Fenced, Store
from stepwell.store.request import RepairRequest

_REST_S: Final = 60.0
_EXAMPLES_MAX: Final = 5

log = structlog.get_logger("stepwell.reconciler")


class Report(NamedTuple):
    """What one round looked at, found and mended."""

    started_at: int
    ended_at: int
    is_whole: bool
    """It saw everything that is open; otherwise the next rounds go on."""
    checked: Mapping[Walk, int]
    found: Mapping[Fault, int]
    mended: Mapping[Fault, int]
    examples: Mapping[Fault, tuple[str, ...]]
    """Keys of some of what was found."""

    @property
    def faults(self) -> dict[Fault, int]:
        """Return what was found that should never be."""
        return {fault: count for fault, count in self.found.items() if not fault.is_of_time}


class Reconciler:
    """One at a time: a round that is asked for waits for the one under way.

    ``inserted`` is told of jobs that were put into the queue, ``look`` makes the scheduler look at all there is.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        registries: Registries,
        *,
        inserted: Callable[[Job], None],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self._store, self._clock, self._registries = store, clock, registries
        self._inserted, self._look = inserted, look
        self._places: dict[Walk, tuple[str, ...]] = {}
        """Where the walks go on that were longer than a round's share."""
        self._turn = asyncio.Lock()
        self.report: Report | None = None
        """Of the latest round."""

    async def run(self) -> None:
        """Check now and every minute, until cancelled or the store is closed."""
        while True:
            try:
                await self.check_once()
            except StoreClosed:
                return
            except (StoreUnavailable, Fenced) as error:
                log.debug("reconciler.put_off", error=str(error))
            except StoreError as error:
                log.warning("store.refused", error=str(error), retry_in_s=_REST_S)
            except Exception:
                log.exception("reconciler.broke", retry_in_s=_REST_S)
            await asyncio.sleep(_REST_S)

    async def check_once(self, *, is_whole: bool = False) -> Report:
        """Do one round: as much as its share is or, with ``is_whole``, from the beginning to the end.

        Raises ``StoreError``; what was mended before stays so.
        """
        async with self._turn:
            if is_whole:
                self._places.clear()
            tally = _Tally(self._clock.now())
            for walk in Walk:
                await self._walk(walk, tally, pieces_max=None if is_whole else CHECKS_MAX)
            self.report = tally.report(self._clock.now(), is_whole=not self._places)
            if self.report.faults:
                log.warning(
                    "reconciler.found",
                    **{str(fault): count for fault, count in self.report.faults.items()},
                    mended=sum(self.report.mended.values()),
                    examples=[key for keys in self.report.examples.values() for key in keys],
                    hint="this should never be: it was mended, and `stepwell doctor` shows it; please report it",
                )
            return self.report

    async def _walk(self, walk: Walk, tally: _Tally, *, pieces_max: int | None) -> None:
        after = self._places.pop(walk, ())
        began_within = bool(after)
        pieces = 0
        while True:
            now = self._clock.now()
            met = await self._store.check(walk, after, now=now, limit=CHECK_ROWS_MAX)
            tally.note(walk, met)
            await self._mend([row for row in met if row.fault is not None], tally, now)
            pieces += 1
            if len(met) < CHECK_ROWS_MAX:
                if began_within:  # the rows before the place were seen by the rounds before
                    tally.is_whole = False
                return
            after = met[-1].key
            if pieces == pieces_max:
                self._places[walk] = after
                return

    async def _mend(self, rows: Sequence[Checked], tally: _Tally, now: int) -> None:
        found: dict[Fault, list[tuple[str, ...]]] = {}
        for key, fault in rows:
            assert fault is not None, "only what is wrong is mended"
            found.setdefault(fault, []).append(key)
        if not found:
            return
        if Fault.OVERDUE_GATHERING in found:
            await self._look()
        revived = await self._revived([RunId(key[0]) for key in found.pop(Fault.STUCK_RUN, ())], now)
        result = await self._store.submit(RepairRequest(found, revived, now))
        tally.mended.update(result.mended)
        for job, _ in revived:
            self._inserted(job)

    async def _revived(self, ids: Sequence[RunId], now: int) -> list[tuple[Job, int]]:
        """Make a job for each run that is stuck, from its newest state."""
        states = await self._store.load_runs(ids) if ids else {}
        revived: list[tuple[Job, int]] = []
        for state in states.values():
            if state.run.status.is_final or state.driver_count:
                continue
            try:
                function = await self._registries.find(state.run)
            except KeyError:  # somebody deleted it by hand: the run is shown as found, and not as mended
                continue
            revived.append((revive(state, function, at=now), state.run.version))
        return revived


class _Tally:
    """Counts of one round."""

    def __init__(self, now: int) -> None:
        self._started_at = now
        self._checked: Counter[Walk] = Counter()
        self._found: Counter[Fault] = Counter()
        self._examples: dict[Fault, list[str]] = {}
        self.mended: Counter[Fault] = Counter()
        self.is_whole = True

    def note(self, walk: Walk, met: Sequence[Checked]) -> None:
        self._checked[walk] += len(met)
        for key, fault in met:
            if fault is not None:
                self._found[fault] += 1
                some = self._examples.setdefault(fault, [])
                if len(some) < _EXAMPLES_MAX:
                    some.append(" ".join(part for part in key if part))

    def report(self, now: int, *, is_whole: bool) -> Report:
        return Report(
            started_at=self._started_at,
            ended_at=now,
            is_whole=is_whole and self.is_whole,
            checked=dict(self._checked),
            found=dict(self._found),
            mended={fault: count for fault, count in self.mended.items() if count},
            examples={fault: tuple(some) for fault, some in self._examples.items()},
        )
