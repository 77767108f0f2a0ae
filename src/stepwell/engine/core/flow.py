"""What flow control decides: rate limits, throttles, debounces and batches (protocol 11), as functions of their state.

A rate limit and a throttle keep a state for each key: bytes that the store keeps without reading them, until the time
that ``rate_expiry`` and ``throttle_expiry`` give. A state may be of another limit than the one it is asked with: the
app was synced in between. No time goes back here: what a state says of the future was written before the clock was set
back, and is taken to be of now, so that it delays nobody for longer than it must.

*Rate limit*: a sliding window, exact. The state is a log of starts; with a large limit, of how many there were in each
of some small spans, which count as if they all were at the span's end: then it never admits too many, and refuses for
up to a thousandth of the period longer.

*Throttle*: GCRA. With the interval ``period / limit`` between starts, the state is the time at which the key will be
idle, had all starts been one interval apart. A start moves it by one interval; there is room for one while it is less
than ``burst`` intervals ahead. That time is kept with its fraction of a millisecond, and a start is allowed in the
millisecond in which it falls: nothing is lost by rounding, and more than one in a millisecond are possible.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import Final, NamedTuple

import msgspec

from stepwell.engine.core.model import Gather, Gathering, GatherKind
from stepwell.limits import BATCH_BYTES_MAX, RATE_LOG_MAX
from stepwell.protocol.ids import EnvironmentId, FunctionId, RunId

_read_idle_at: Final = msgspec.json.Decoder(tuple[int, int, int]).decode
"""Whole milliseconds, and a fraction of one: so many parts of how many."""
_write: Final = msgspec.json.Encoder().encode


def rate_limit(state: bytes | None, *, limit: int, period_ms: int, now: int) -> tuple[bytes, bool]:
    """Tell whether a start is within the limit, and return the state after it.

    A start counts for ``period_ms``, to the millisecond before that has passed.
    """
    span = _span(limit, period_ms)
    at = now - now % span + span - 1
    log = _log_of(state)
    log.forget(now - period_ms)
    log.set_back(at)
    is_admitted = sum(log.counts) < limit
    if is_admitted:
        log.add(at, 1)
    return log.state(), is_admitted


def rate_expiry(state: bytes, *, period_ms: int) -> int:
    """Return the time from which a rate limit's state says nothing."""
    log = _log_of(state)
    return log.instants[-1] + period_ms if log.instants else 0


def throttle(
    state: bytes | None, *, limit: int, period_ms: int, burst: int, now: int, wanted: int
) -> tuple[bytes | None, int, int | None]:
    """Return the state after as many of the ``wanted`` starts as may be now, their number, and when the next may be.

    The state is None when it says nothing. The time is None when all may start.
    """
    # In units of 1/limit ms, of which an interval has period_ms. This millisecond lasts for ``limit`` of them.
    latest = now * limit + limit - 1 + burst * period_ms
    idle_at = min(max(_idle_at(state, limit), now * limit), latest)
    allowed = min(wanted, (latest - idle_at) // period_ms)
    idle_at += allowed * period_ms
    next_at = None if allowed == wanted else (idle_at - (burst - 1) * period_ms) // limit
    return (_write((*divmod(idle_at, limit), limit)) if idle_at > now * limit else None), allowed, next_at


def throttle_expiry(state: bytes) -> int:
    """Return the time from which a throttle's state says nothing."""
    return _idle_at(state, 1)


def gather(
    gathering: Gathering | None,
    gather: Gather,
    *,
    key: str,
    run_id: RunId,
    environment: EnvironmentId,
    function_id: FunctionId,
    event_bytes: int,
    now: int,
) -> Gathering:
    """Take one more event into a gathering, or open it with the first. It is due at once when it ``is_full``.

    ``run_id`` is for one that is opened: a gathering keeps the id of the run that it becomes. A debounce starts with
    its last event: the sizes of the others don't add up. A batch may go over ``BATCH_BYTES_MAX`` by its last event.
    """
    first_at = now if gathering is None else min(gathering.first_at, now)
    byte_count = event_bytes
    if gather.kind is GatherKind.BATCH:
        due_at = first_at + gather.period_ms
        byte_count += 0 if gathering is None else gathering.byte_count
    else:
        due_at = now + gather.period_ms
        if gather.delay_max_ms is not None:
            due_at = min(due_at, first_at + gather.delay_max_ms)
    grown = Gathering(
        run_id=run_id if gathering is None else gathering.run_id,
        environment=environment,
        function_id=function_id,
        kind=gather.kind,
        key=key,
        version=0 if gathering is None else gathering.version + 1,
        first_at=first_at,
        due_at=due_at,
        event_count=1 if gathering is None else gathering.event_count + 1,
        byte_count=byte_count,
    )
    return msgspec.structs.replace(grown, due_at=now) if is_full(grown, gather) else grown


def is_full(gathering: Gathering, gather: Gather) -> bool:
    """Tell whether a batch takes no more events. A debounce is never full."""
    if gather.kind is not GatherKind.BATCH:
        return False
    return gathering.event_count >= gather.size_max or gathering.byte_count >= BATCH_BYTES_MAX


def _span(limit: int, period_ms: int) -> int:
    """Return the length of the spans of which starts are counted together, in ms."""
    return 1 if limit <= RATE_LOG_MAX else -(-period_ms // RATE_LOG_MAX)


class _Log(NamedTuple):
    """Instants, rising, and how many starts there were at each."""

    instants: list[int]
    counts: list[int]

    def forget(self, until: int) -> None:
        old = bisect_right(self.instants, until)
        del self.instants[:old], self.counts[:old]

    def set_back(self, at: int) -> None:
        """Take what is said to be later than ``at`` to be of then."""
        place = bisect_right(self.instants, at)
        later = sum(self.counts[place:])
        del self.instants[place:], self.counts[place:]
        if later:
            self.add(at, later)

    def add(self, at: int, count: int) -> None:
        if self.instants and self.instants[-1] == at:
            self.counts[-1] += count
        else:
            self.instants.append(at)
            self.counts.append(count)

    def state(self) -> bytes:
        size = len(self.instants)
        return struct.pack(f"<{size}q{size}i", *self.instants, *self.counts)


def _log_of(state: bytes | None) -> _Log:
    """Read a log. It isn't JSON because it may be long, and is read and written for each event."""
    if state is None:
        return _Log([], [])
    size = len(state) // struct.calcsize("<qi")
    values = struct.unpack(f"<{size}q{size}i", state)
    return _Log(list(values[:size]), list(values[size:]))


def _idle_at(state: bytes | None, limit: int) -> int:
    """Return when a throttle will be idle, in units of ``1/limit`` ms, rounded up."""
    if state is None:
        return 0
    ms, part, parts = _read_idle_at(state)
    return ms * limit - (-part * limit // parts)
