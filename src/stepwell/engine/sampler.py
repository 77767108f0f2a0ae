"""Looks, every few seconds, at how many calls of each function wait and how many are in progress, and keeps of each minute
the most that it saw: the backlog and the concurrency over time that the dashboard draws.

It looks only while there is something to see. ``activity`` returns another value than before whenever somebody has begun
something, or left something in the queue. Where nobody has, what the last look saw goes on as it was, but for calls that
end: then one look a minute is enough, until one finds nothing. An idle server asks nothing and writes nothing.

Of several replicas the eldest does this for all, as each sees for itself at its beats. For some seconds there may be two,
or none. That is harmless: of what several saw in a minute the most is kept, and what nobody saw is a gap.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Final

import structlog

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import Function
from stepwell.engine.core.partition import FETCHES, TIMERS, Scope, Token, TokenKind, parse, slot_key
from stepwell.engine.core.rules import Rules
from stepwell.engine.core.trigger import Registry
from stepwell.errors import StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import BACKLOG_COUNTED_MAX, BACKLOG_PARTITIONS_MAX, MINUTE_MS
from stepwell.protocol.ids import FunctionId
from stepwell.store.found import Sample
from stepwell.store.interface import Fenced, Store
from stepwell.store.request import SampleRequest

_REST_S: Final = 5.0
_REST_S_MAX: Final = 60.0  # after a look that took very long, or that the database didn't answer
_RESTS: Final = 50  # times as long as a look took: of a queue that takes long to count, this is a fiftieth of the work

log = structlog.get_logger("stepwell.sampler")


class Sampler:
    """Samples one environment, if it ``is_first`` among the replicas. One ``sample_once`` at a time."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        registry: Callable[[], Registry],
        activity: Callable[[], Hashable],
        is_first: Callable[[], bool],
    ) -> None:
        self._store, self._clock, self._registry = store, clock, registry
        self._activity, self._is_first = activity, is_first
        self._seen: Hashable = None
        """The activity before the last look."""
        self._looked_in = -1
        """The minute of the last look."""
        self._found_something = False
        self._minute = 0
        self._open: dict[FunctionId, Sample] = {}
        """What was seen in the minute under way."""
        self._before: set[FunctionId] = set()
        """The functions of which something was seen in the minute before."""
        self._unwritten: list[Sample] = []

    async def run(self) -> None:
        """Sample until cancelled, or the store is closed."""
        rest_s = _REST_S
        while True:
            await asyncio.sleep(rest_s)
            began_s = self._clock.elapsed()
            try:
                await self.sample_once()
            except StoreClosed:
                return
            except (StoreUnavailable, Fenced) as error:
                log.debug("sampler.put_off", error=str(error))
            except StoreError as error:
                log.warning("sampler.refused", error=str(error), hint="charts of the backlog have a gap meanwhile")
            except Exception:
                log.exception("sampler.broke")
            rest_s = min(_REST_S_MAX, max(_REST_S, (self._clock.elapsed() - began_s) * _RESTS))

    async def sample_once(self) -> None:
        """Write what was seen of a minute that has ended; look, if there may be something. Raises ``StoreError``.

        What couldn't be written is tried again by the next one, which looks only after that.
        """
        now = self._clock.now()
        minute = now - now % MINUTE_MS
        if minute != self._minute:
            self._end_minute(minute)
        if self._unwritten:
            await self._write()
        activity = self._activity()
        must_look = activity != self._seen or (self._found_something and self._looked_in != minute)
        if must_look and self._is_first():
            await self._look(now)
            self._seen, self._looked_in = activity, minute

    async def stop(self) -> None:
        """Write what was seen of the minute under way: whoever goes on with it adds to that. Raises ``StoreError``."""
        self._unwritten += self._open.values()
        self._open = {}
        if self._unwritten:
            await self._write()

    def seen(self, function_id: FunctionId) -> list[Sample]:
        """Return what was seen of a function and isn't written yet."""
        return [sample for sample in (*self._unwritten, *self._open.values()) if sample.function_id == function_id]

    def _end_minute(self, begun: int) -> None:
        """Go on to another minute. What fell to nothing is written once, as nothing."""
        self._unwritten += [Sample(id, self._minute) for id in sorted(self._before - self._open.keys())]
        self._unwritten += self._open.values()
        self._before, self._open, self._minute = set(self._open), {}, begun

    async def _write(self) -> None:
        await self._store.submit(SampleRequest(self._unwritten))
        self._unwritten = []

    async def _look(self, now: int) -> None:
        backlog, running = await count_calls(self._store, now)
        runs = await self._count_runs()
        self._found_something = False
        for id in self._registry().by_id:
            sample = Sample(id, self._minute, backlog[id], running[id], runs[id])
            if any(sample[2:]):
                self._found_something = True
                self._open[id] = sample.joined(self._open.get(id, sample))

    async def _count_runs(self) -> Counter[FunctionId]:
        """Count the runs in progress of functions that have a limit of their own for all of them."""
        registry = self._registry()
        keys = {
            key: function.id
            for function in registry.by_id.values()
            if (key := _key_of_runs(function, registry.rules(function))) is not None
        }
        if not keys:
            return Counter()
        used = await self._store.insight.slot_counts(list(keys))
        return Counter({keys[key]: count for key, count in used.items()})


async def count_calls(store: Store, now: int) -> tuple[Counter[FunctionId], Counter[FunctionId]]:
    """Return how many calls of each function are due and waiting, and how many are in progress. Raises ``StoreError``."""
    waiting = await store.backlog(now=now, partitions_max=BACKLOG_PARTITIONS_MAX, count_max=BACKLOG_COUNTED_MAX)
    return _by_function(waiting), _by_function(await store.insight.calls_in_progress())


def _by_function(counts: Iterable[tuple[str, int]]) -> Counter[FunctionId]:
    found: Counter[FunctionId] = Counter()
    for partition, number in counts:
        if partition not in (TIMERS, FETCHES):
            found[parse(partition).function_id] += number
    return found


def _key_of_runs(function: Function, rules: Rules | None) -> str | None:
    """Return the key that all runs of a function are counted for, where it has a limit of its own for them."""
    for rule in rules.runs if rules is not None else ():
        if rule.key is None and rule.scope is Scope.FN:
            return slot_key(Token(TokenKind.RUNS, rule.id), function.id, function.environment, rule.scope)
    return None
