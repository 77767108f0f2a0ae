"""Rate limits, throttles, debounces and batches against models that remember every start and every event."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stepwell.engine.core.flow import (
    gather,
    is_full,
    rate_expiry,
    rate_limit,
    throttle,
    throttle_expiry,
)
from stepwell.engine.core.model import Gather, Gathering, GatherKind
from stepwell.limits import BATCH_BYTES_MAX, RATE_LOG_MAX
from stepwell.protocol.ids import EnvironmentId, FunctionId, RunId

T0 = 1_790_000_000_000

limits = st.integers(1, 5)
periods = st.sampled_from([1_000, 1_001, 7_919, 60_000])
pauses = st.one_of(st.just(0), st.integers(1, 400), st.integers(1, 20_000), st.sampled_from([999, 1_000, 1_001]))


def most_in_a_window(starts: list[int], length: int) -> int:
    return max((sum(start <= other < start + length for other in starts) for start in starts), default=0)


class RateLimitMachine(RuleBasedStateMachine):
    """One key. The state is thrown away whenever it may be, and the clock is set back now and then."""

    @initialize(limit=limits, period_ms=periods)
    def begin(self, limit: int, period_ms: int) -> None:
        self.limit, self.period_ms = limit, period_ms
        self.real = self.clock = T0
        self.state: bytes | None = None
        self.starts: list[int] = []
        self.is_set_back = False
        self.in_step_at = T0
        """Until then, starts from before the clock was set back may count for longer than they should."""

    @rule(ms=pauses)
    def wait(self, ms: int) -> None:
        self.real += ms
        self.clock += ms
        if self.state is not None and rate_expiry(self.state, period_ms=self.period_ms) <= self.clock:
            self.state = None

    @rule(ms=st.integers(1, 100_000))
    def set_back(self, ms: int) -> None:
        self.clock -= ms
        self.is_set_back = True

    @rule(count=st.integers(1, 3))
    def ask(self, count: int) -> None:
        if self.is_set_back:
            self.is_set_back, self.in_step_at = False, self.real + self.period_ms
        for _ in range(count):
            self.state, is_admitted = rate_limit(self.state, limit=self.limit, period_ms=self.period_ms, now=self.clock)
            counted = sum(start > self.real - self.period_ms for start in self.starts)
            if counted >= self.limit:
                assert not is_admitted, "one too many in this window"
            elif self.real >= self.in_step_at:
                assert is_admitted, "there was room"
            if is_admitted:
                self.starts.append(self.real)

    @invariant()
    def no_window_holds_more_than_the_limit(self) -> None:
        if hasattr(self, "starts"):
            assert most_in_a_window(self.starts, self.period_ms) <= self.limit


TestRateLimit = RateLimitMachine.TestCase


@given(
    limit=st.integers(RATE_LOG_MAX + 1, RATE_LOG_MAX + 50),
    period_ms=st.sampled_from([1_000, 1_500, 12_345, 60_000]),
    bursts=st.lists(st.tuples(pauses, st.integers(1, 700)), max_size=5),
)
@settings(max_examples=25)
def test_a_large_rate_is_counted_in_spans_and_never_too_high(
    limit: int, period_ms: int, bursts: list[tuple[int, int]]
) -> None:
    span = -(-period_ms // RATE_LOG_MAX)
    now, state = T0, None
    admitted: list[tuple[int, int]] = []
    for pause, count in bursts:
        now += pause
        for _ in range(count):
            state, is_admitted = rate_limit(state, limit=limit, period_ms=period_ms, now=now)
            in_window = sum(n for at, n in admitted if at > now - period_ms)
            nearly_in_window = sum(n for at, n in admitted if at > now - period_ms - span)
            assert not is_admitted or in_window < limit, "one too many in this window"
            assert is_admitted or nearly_in_window >= limit, "there was room for more than a span"
            if is_admitted:
                admitted.append((now, 1))
    assert state is None or len(state) <= 12 * (RATE_LOG_MAX + 1)


@given(
    before=st.tuples(limits, periods, st.lists(pauses, max_size=15)),
    after=st.tuples(limits, periods, st.lists(pauses, max_size=15)),
)
def test_a_rate_limit_that_changes_holds_from_then_on(
    before: tuple[int, int, list[int]], after: tuple[int, int, list[int]]
) -> None:
    now, state = T0, None
    starts: list[int] = []
    limit, period_ms, gaps = before
    for gap in gaps:
        now += gap
        state, is_admitted = rate_limit(state, limit=limit, period_ms=period_ms, now=now)
        starts += [now] * is_admitted
    known = len(starts)
    limit, period_ms, gaps = after
    for gap in gaps:
        now += gap
        state, is_admitted = rate_limit(state, limit=limit, period_ms=period_ms, now=now)
        assert is_admitted or sum(start > now - period_ms for start in starts) >= limit, "there was room"
        starts += [now] * is_admitted
        assert most_in_a_window(starts[known:], period_ms) <= limit


class ThrottleMachine(RuleBasedStateMachine):
    """One key with a bucket that leaks ``limit`` in each period, and holds ``burst`` by the end of the millisecond."""

    @initialize(limit=st.integers(1, 7) | st.integers(1_000, 3_500), period_ms=periods, burst=st.integers(1, 4))
    def begin(self, limit: int, period_ms: int, burst: int) -> None:
        self.limit, self.period_ms, self.burst = limit, period_ms, burst
        self.real = self.clock = T0
        self.state: bytes | None = None
        self.level = Fraction(0)
        self.starts: list[int] = []
        self.was_set_back = False

    @rule(ms=pauses)
    def wait(self, ms: int) -> None:
        self.real += ms
        self.clock += ms
        self.level = max(Fraction(0), self.level - Fraction(ms * self.limit, self.period_ms))
        if self.state is not None and throttle_expiry(self.state) <= self.clock:
            self.state = None

    @rule(ms=st.integers(1, 100_000))
    def set_back(self, ms: int) -> None:
        self.clock -= ms
        self.was_set_back = True

    @rule(wanted=st.integers(0, 5))
    def ask(self, wanted: int) -> None:
        room = int(self.burst - self.level + Fraction(self.limit - 1, self.period_ms))
        state, allowed, next_at = self._throttle(self.clock, wanted)
        assert (next_at is None) == (allowed == wanted)
        if self.was_set_back:
            assert allowed <= min(wanted, room), "too early"
        else:
            assert allowed == min(wanted, room), "idle, or too early"
        self.state = state
        self.level += allowed
        self.starts += [self.real] * allowed
        if next_at is not None:
            assert next_at > self.clock
            assert next_at - self.clock <= -(-self.period_ms // self.limit), "longer than one interval"
            assert self._throttle(next_at - 1, 1)[1] == 0, "it could be earlier"
            assert self._throttle(next_at, 1)[1] == 1, "it said it would be now"

    @invariant()
    def no_time_holds_more_than_burst_and_limit(self) -> None:
        starts = getattr(self, "starts", [])
        for place, last in enumerate(starts):
            for before, first in enumerate(starts[: place + 1]):
                count = place - before + 1
                assert count <= self.burst + Fraction((last - first + 1) * self.limit, self.period_ms)

    def _throttle(self, now: int, wanted: int) -> tuple[bytes | None, int, int | None]:
        return throttle(
            self.state, limit=self.limit, period_ms=self.period_ms, burst=self.burst, now=now, wanted=wanted
        )


TestThrottle = ThrottleMachine.TestCase


@given(
    limit=st.integers(1, 1_000_000_000),
    period_ms=st.integers(1_000, 604_800_000),
    burst=st.integers(1, 1_000_000_000),
    changed=st.integers(1, 1_000_000_000),
    wanted=st.integers(1, 2_000_000_000),
)
def test_a_throttle_of_any_size_has_a_state(limit: int, period_ms: int, burst: int, changed: int, wanted: int) -> None:
    state, allowed, _ = throttle(None, limit=limit, period_ms=period_ms, burst=burst, now=T0, wanted=wanted)

    assert allowed == min(wanted, burst + (limit - 1) // period_ms)
    assert state is not None
    assume(allowed < wanted)
    _, none, next_at = throttle(state, limit=changed, period_ms=period_ms, burst=1, now=T0, wanted=1)
    assert none == 0 or changed > period_ms
    assert next_at is None or T0 < next_at <= T0 + -(-period_ms // changed)


class GatherMachine(RuleBasedStateMachine):
    """One key of a debounce or a batch, which fires when it is due."""

    @initialize(
        kind=st.sampled_from(GatherKind),
        period_ms=periods,
        size_max=st.integers(2, 5),
        delay_max_ms=st.none() | st.integers(500, 70_000),
    )
    def begin(self, kind: GatherKind, period_ms: int, size_max: int, delay_max_ms: int | None) -> None:
        if kind is GatherKind.BATCH:
            self.gather = Gather(kind, "k", period_ms, size_max=size_max)
        else:
            self.gather = Gather(kind, "k", period_ms, delay_max_ms=delay_max_ms)
        self.now = T0
        self.opened = 0
        self.gathering: Gathering | None = None
        self.events: list[tuple[int, int]] = []

    @rule(ms=pauses)
    def wait(self, ms: int) -> None:
        self.now += ms
        if self.gathering is not None and self.gathering.due_at <= self.now:
            self._fire()

    @rule(size=st.one_of(st.integers(1, 1_000), st.sampled_from([BATCH_BYTES_MAX // 2, BATCH_BYTES_MAX])))
    def come(self, size: int) -> None:
        before = self.gathering
        if before is None:
            self.opened += 1
        after = gather(
            before,
            self.gather,
            key="k",
            run_id=RunId(f"run-{self.opened}" if before is None else "not-this"),
            environment=EnvironmentId("dev"),
            function_id=FunctionId("f"),
            event_bytes=size,
            now=self.now,
        )
        self.events.append((self.now, size))
        assert after.run_id == f"run-{self.opened}"
        assert after.event_count == len(self.events)
        assert after.version == len(self.events) - 1
        assert after.first_at == self.events[0][0]
        assert after.due_at == self._due_at()
        assert is_full(after, self.gather) == self._is_full()
        self.gathering = after
        if is_full(after, self.gather):
            assert after.due_at == self.now
            self._fire()

    def _fire(self) -> None:
        assert self.gathering is not None
        first_at = self.events[0][0]
        if self.gather.kind is GatherKind.BATCH:
            assert len(self.events) <= self.gather.size_max
            assert sum(size for _, size in self.events[:-1]) < BATCH_BYTES_MAX
            assert self.gathering.due_at <= first_at + self.gather.period_ms
        elif self.gather.delay_max_ms is not None:
            assert self.gathering.due_at <= first_at + self.gather.delay_max_ms
        self.gathering, self.events = None, []

    def _is_full(self) -> bool:
        is_large = sum(size for _, size in self.events) >= BATCH_BYTES_MAX
        return self.gather.kind is GatherKind.BATCH and (len(self.events) == self.gather.size_max or is_large)

    def _due_at(self) -> int:
        first_at, last_at = self.events[0][0], self.events[-1][0]
        if self.gather.kind is GatherKind.BATCH:
            return self.now if self._is_full() else first_at + self.gather.period_ms
        latest = first_at + self.gather.delay_max_ms if self.gather.delay_max_ms is not None else None
        return min(last_at + self.gather.period_ms, latest or last_at + self.gather.period_ms)


TestGather = GatherMachine.TestCase


@given(
    kind=st.sampled_from(GatherKind),
    back_ms=st.integers(0, 1_000_000),
    delay_max_ms=st.none() | st.integers(1_000, 10_000),
)
def test_a_clock_that_is_set_back_delays_no_gathering_for_longer(
    kind: GatherKind, back_ms: int, delay_max_ms: int | None
) -> None:
    asked = Gather(kind, "k", 5_000, size_max=9, delay_max_ms=delay_max_ms)
    found: Gathering | None = None
    now = T0
    for now in (T0, T0 - back_ms):
        found = gather(
            found,
            asked,
            key="k",
            run_id=RunId("r"),
            environment=EnvironmentId("dev"),
            function_id=FunctionId("f"),
            event_bytes=1,
            now=now,
        )

    assert found is not None
    assert found.due_at <= now + 5_000
