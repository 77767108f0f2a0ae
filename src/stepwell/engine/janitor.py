"""Deletes what has expired: runs some time after they ended, events that no run has, windows of event ids, samples.

Ids rise with time, so each function's runs, and the events, are *walked* from the oldest id on. A walk goes as far as
has expired and rests until the next id is as old; what it steps over (a run that hasn't ended, an event whose run is
kept longer) it meets again in the next round, when it begins anew. Where a walk stands is in memory only: after a
restart it begins anew, too. With nothing to delete there are no queries but those of a round.

It is gentle. Walking only reads; deleting takes small transactions, and each piece of work is followed by a rest, so that
a tenth of the time is spent. Only when more expires than that can delete does it take a larger share, up to a half.

Every replica does this. Two at once meet the same rows: each passes over what the other has, and finds gone what the
other deleted. A crash in between leaves whole what was not deleted: each transaction takes runs with all that is theirs.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import structlog
from ulid import base32

from stepwell.engine.clock import Clock
from stepwell.engine.ids import ulid_text
from stepwell.errors import StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import DAY_MS, EVENT_ID_WINDOW_MS, HOUR_MS, MINUTE_MS, PRUNE_RUNS_MAX, PRUNE_WEIGHT_MAX
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, RunId
from stepwell.store.found import Aged, Minute
from stepwell.store.interface import Fenced, Store
from stepwell.store.request import Pruned, PruneRequest

_LOOK_MAX: Final = 100  # runs or events that are read at once
_LOOK_KEYS_MAX: Final = 500
_ROUNDS: Final = 24  # in the time that is kept, each a day at most: how late what was stepped over is deleted
_SLACK: Final = 100  # a hundredth of the time that is kept: so much longer may runs take and be deleted when first met
_SHARE_MIN: Final = 0.1  # of the time, for work
_SHARE_MAX: Final = 0.5
_NEARLY_ALL, _LITTLE = 0.75, 0.25  # of the time; half the share makes of little still not nearly all
_PAUSE_S_MAX: Final = 10.0
_REST_S_MIN: Final = 60.0
_REST_S_MAX: Final = 3_600.0  # the clock may be set
_KIB: Final = 1024
_NO_ENTROPY: Final = bytes(10)

T = TypeVar("T")

log = structlog.get_logger("stepwell.janitor")


class Retention(NamedTuple):
    """How long an environment's events and ended runs are kept, ms; None keeps them for ever."""

    environment_ms: int | None = None
    by_function: Mapping[str, int | None] = {}
    """Of the runs of single functions, by their names (``app-fn``)."""

    def of(self, function: str) -> int | None:
        """Return how long the runs of a function are kept."""
        return self.by_function.get(function, self.environment_ms)

    @property
    def finite(self) -> list[int]:
        """All times after which something is deleted."""
        return [kept_ms for kept_ms in (self.environment_ms, *self.by_function.values()) if kept_ms is not None]


class _Walk(Protocol):
    due_at: int
    """When there may be something that has expired."""

    async def look(self, now: int) -> Sequence[Aged | Minute | tuple[FunctionId, str]]:
        """Go on by one look; return what has expired."""
        ...


class _WalkInTime:
    """A walk over runs or events. ``find(after, expired_by)`` reads the next ones, ``_LOOK_MAX`` at most."""

    def __init__(self, kept_ms: int, find: Callable[[str, int], Awaitable[list[Aged]]]) -> None:
        self._kept_ms, self._find = kept_ms, find
        self._slack_ms = kept_ms // _SLACK
        self.begin(now=0)

    def begin(self, *, now: int) -> None:
        """Begin a round."""
        self._after = ""
        self.due_at = now
        self.round_at = now + _round_ms(self._kept_ms)

    async def look(self, now: int) -> Sequence[Aged]:
        found = await self._find(self._after, now - self._kept_ms)
        horizon = ulid_text(max(0, now - self._kept_ms - self._slack_ms), _NO_ENTROPY)
        met = [aged for aged in found if aged.id < horizon]
        if met:
            self._after = met[-1].id
        if len(met) < len(found):
            self.due_at = _time_of(found[len(met)].id) + self._kept_ms + self._slack_ms + 1
        elif len(found) < _LOOK_MAX:
            self.due_at = now + self._kept_ms  # what comes from now on expires later still
        return [aged for aged in met if aged.row_count is not None]


class _WalkOfKeys:
    """A walk over the windows of event ids, which are in no order of time: from one end to the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._after = ("", "")
        self._earliest: float = math.inf
        self.due_at = 0

    async def look(self, now: int) -> Sequence[tuple[FunctionId, str]]:
        found = await self._store.walk_event_keys(self._after, limit=_LOOK_KEYS_MAX)
        open_until = [key.expires_at for key in found if key.expires_at > now]
        self._earliest = min(self._earliest, *open_until, math.inf)
        if len(found) == _LOOK_KEYS_MAX:
            self._after = found[-1][:2]
        else:
            # A window that opens from now on lasts for all of its time.
            next_at = int(min(self._earliest, now + EVENT_ID_WINDOW_MS))
            self._after, self._earliest, self.due_at = ("", ""), math.inf, max(next_at, now + HOUR_MS)
        return [key[:2] for key in found if key.expires_at <= now]


class _WalkOfSamples:
    """A walk over what was seen of a function, minute by minute."""

    def __init__(self, store: Store, function_id: FunctionId, kept_ms: int) -> None:
        self._store, self._function_id, self._kept_ms = store, function_id, kept_ms
        self._after = -1
        self.due_at = 0

    async def look(self, now: int) -> Sequence[Minute]:
        found = await self._store.walk_samples(
            self._function_id, after=self._after, until=now - self._kept_ms, limit=_LOOK_KEYS_MAX
        )
        if len(found) == _LOOK_KEYS_MAX:
            self._after = found[-1].at
        else:
            self._after, self.due_at = -1, now + _round_ms(self._kept_ms)
        return found


class Janitor:
    """Prunes one environment. One ``sweep_once`` at a time. ``pruned`` is told of the runs that were to go."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        environment: EnvironmentId,
        retention: Retention,
        pruned: Callable[[Sequence[RunId]], None] | None = None,
    ) -> None:
        self._store, self._clock, self._environment, self._retention = store, clock, environment, retention
        self._pruned = pruned
        self._share = _SHARE_MIN
        self._unknown: set[str] = set()
        self._swept_s: float | None = None
        """When the sweep before began."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._runs: dict[FunctionId, _WalkInTime] = {}
        self._events: _WalkInTime | None = None
        if self._retention.environment_ms is not None:
            self._events = _WalkInTime(self._retention.environment_ms, self._walk_events)
        self._keys = _WalkOfKeys(self._store)
        self._samples: dict[FunctionId, _WalkOfSamples] = {}
        self._functions_at = 0
        """When the functions are read again."""

    async def run(self) -> None:
        """Sweep whenever something may have expired, at most once a minute, until cancelled or the store is closed."""
        rest_s = _REST_S_MIN
        while True:
            await asyncio.sleep(rest_s)
            rest_s = _REST_S_MIN
            try:
                await self.sweep_once()
                rest_s = max(_REST_S_MIN, min(_REST_S_MAX, self._clock.until(self._next_at()) / 1000))
            except StoreClosed:
                return
            except (StoreUnavailable, Fenced) as error:
                log.debug("retention.put_off", error=str(error))
            except StoreError as error:
                log.warning("retention.refused", error=str(error), hint="nothing is deleted until this is mended")
            except Exception:
                log.exception("janitor.broke")

    async def sweep_once(self) -> Pruned:
        """Delete all that has expired by now, gently. Raises ``StoreError``; then the next sweep begins anew."""
        began_s, before_s = self._clock.elapsed(), self._swept_s
        self._swept_s = began_s
        basket = _Basket(self._clock.now(), self._retention, self._prune)
        try:
            await self._begin_rounds(basket.now)
            due = deque(walk for walk in self._walks() if walk.due_at <= basket.now)
            while due:
                walk = due.popleft()
                for found in await self._gently(walk.look(basket.now)):
                    await basket.put(found, is_event=walk is self._events)
                if walk.due_at <= basket.now:
                    due.append(walk)
            await basket.empty()
        except Exception:
            self._begin_anew()  # the walks have passed what was not deleted
            raise
        if before_s is not None:
            self._judge(took_s=self._clock.elapsed() - began_s, covered_s=began_s - before_s)
        if any(basket.pruned):
            log.debug("retention.pruned", **basket.pruned._asdict())
        return basket.pruned

    def _walks(self) -> list[_Walk]:
        events = [self._events] if self._events is not None else []
        return [*events, *self._runs.values(), *self._samples.values(), self._keys]

    def _next_at(self) -> int:
        """Return when there may be something to do."""
        rounds = [walk.round_at for walk in self._walks() if isinstance(walk, _WalkInTime)]
        return min(self._functions_at, *rounds, *(walk.due_at for walk in self._walks()))

    # -- walking ------------------------------------------------------------------------------------------------

    async def _begin_rounds(self, now: int) -> None:
        """Begin the rounds whose time has come, and the walks of functions that are new."""
        if now >= self._functions_at:
            _, functions = await self._store.load_functions(self._environment)
            for function in functions:  # archived ones, too: their runs are still there
                kept_ms = self._retention.of(function.slug)
                if kept_ms is not None and function.id not in self._runs:
                    self._runs[function.id] = _WalkInTime(kept_ms, self._walk_runs(function.id))
                    self._samples[function.id] = _WalkOfSamples(self._store, function.id, kept_ms)
            self._note_unknown({function.slug for function in functions})
            self._functions_at = now + min([DAY_MS, *(_round_ms(kept_ms) for kept_ms in self._retention.finite)])
        for walk in self._walks():
            if isinstance(walk, _WalkInTime) and now >= walk.round_at:
                walk.begin(now=now)

    def _note_unknown(self, names: set[str]) -> None:
        """Say which functions are named in the settings and not registered, as soon as any are, and when that changes."""
        unknown = self._retention.by_function.keys() - names
        if names and unknown != self._unknown:
            self._unknown = unknown
            if unknown:
                log.warning("retention.no_such_function", functions=sorted(unknown), hint="see --function-retention")

    def _walk_runs(self, function_id: FunctionId) -> Callable[[str, int], Awaitable[list[Aged]]]:
        return lambda after, ended_before: self._store.walk_runs(
            function_id, after=after, ended_before=ended_before, limit=_LOOK_MAX, count_max=PRUNE_WEIGHT_MAX
        )

    def _walk_events(self, after: str, received_before: int) -> Awaitable[list[Aged]]:
        return self._store.walk_events(self._environment, after=after, received_before=received_before, limit=_LOOK_MAX)

    # -- pace ---------------------------------------------------------------------------------------------------

    async def _prune(self, request: PruneRequest) -> Pruned:
        result = await self._gently(self._store.submit(request))
        assert result.pruned is not None, "a request to prune was answered without what it did"
        if request.runs and self._pruned is not None:
            self._pruned(request.runs)
        return result.pruned

    async def _gently(self, work: Awaitable[T]) -> T:
        """Do some work, then rest until it has had its share of the time."""
        began_s = self._clock.elapsed()
        done = await work
        took_s = self._clock.elapsed() - began_s
        await asyncio.sleep(min(_PAUSE_S_MAX, took_s * (1 / self._share - 1)))
        return done

    def _judge(self, *, took_s: float, covered_s: float) -> None:
        """Choose the share for the next sweep: larger when this one took nearly all of the time whose work it did.

        A backlog from before the start is no reason: what it takes longer, the next sweep has more time for.
        """
        if took_s > covered_s * _NEARLY_ALL:
            if self._share < _SHARE_MAX:
                self._share = min(_SHARE_MAX, self._share * 2)
            elif took_s > covered_s:
                log.warning(
                    "retention.behind", hint="more expires than can be deleted beside the work: it is kept longer"
                )
        elif took_s < covered_s * _LITTLE:
            self._share = max(_SHARE_MIN, self._share / 2)


class _Basket:
    """What has expired and is deleted together, as soon as it is enough for one transaction."""

    def __init__(self, now: int, retention: Retention, prune: Callable[[PruneRequest], Awaitable[Pruned]]) -> None:
        self.now = now
        self.pruned = Pruned()
        kept_ms = retention.environment_ms
        self._empty = PruneRequest(now, received_before=None if kept_ms is None else now - kept_ms)
        self._prune = prune
        self._runs: list[RunId] = []
        self._events: list[EventId] = []
        self._keys: list[tuple[FunctionId, str]] = []
        self._samples: list[Minute] = []
        self._weight = 0

    async def put(self, found: Aged | Minute | tuple[FunctionId, str], *, is_event: bool) -> None:
        """Take one more; empty the basket before it gets too heavy."""
        if isinstance(found, Minute):
            await self._make_room(1)
            self._samples.append(found)
            return
        if not isinstance(found, Aged):
            await self._make_room(1)
            self._keys.append(found)
            return
        row_count = found.row_count or 0
        weight = row_count + found.byte_count // _KIB
        if is_event:
            await self._make_room(weight)
            self._events.append(EventId(found.id))
        elif weight <= PRUNE_WEIGHT_MAX:
            await self._make_room(weight)
            self._runs.append(RunId(found.id))
        else:
            await self._prune_in_pieces(RunId(found.id), max(1, row_count * PRUNE_WEIGHT_MAX // weight))

    async def _make_room(self, weight: int) -> None:
        if self._weight + weight > PRUNE_WEIGHT_MAX or len(self._runs) == PRUNE_RUNS_MAX:
            await self.empty()
        self._weight += weight

    async def empty(self) -> None:
        """Delete what was taken."""
        request = self._empty._replace(runs=self._runs, events=self._events, keys=self._keys, samples=self._samples)
        self._runs, self._events, self._keys, self._samples, self._weight = [], [], [], [], 0
        if request.runs or request.events or request.keys or request.samples:
            self._count(await self._prune(request))

    async def _prune_in_pieces(self, run_id: RunId, rows_max: int) -> None:
        """Delete a run that is too large for one short transaction: from its attempts to its steps to itself."""
        while True:
            pruned = await self._prune(self._empty._replace(runs=[run_id], rows_max=rows_max))
            self._count(pruned)
            if pruned.runs or not pruned.rows:  # gone, or another replica is at it
                return

    def _count(self, pruned: Pruned) -> None:
        self.pruned = Pruned(*(one + other for one, other in zip(self.pruned, pruned, strict=True)))


def _round_ms(kept_ms: int) -> int:
    """Return how often a walk begins anew."""
    return min(DAY_MS, max(MINUTE_MS, kept_ms // _ROUNDS))


def _time_of(id: str) -> int:
    """Return the instant in a ULID, Unix ms."""
    return int.from_bytes(base32.decode_timestamp(id[:10]), "big")
