"""What flow control decides, by example and at its edges; ``properties/test_flow.py`` has the models."""

from __future__ import annotations

from stepwell.engine.core.flow import gather, is_full, rate_expiry, rate_limit, throttle, throttle_expiry
from stepwell.engine.core.model import Gather, Gathering, GatherKind
from stepwell.limits import RATE_LOG_MAX
from stepwell.protocol.ids import RunId
from tests.unit.engine.making import DEV, T0, function_of

F = function_of().id


def admitted(times: list[int], *, limit: int, period_ms: int) -> list[bool]:
    state: bytes | None = None
    found: list[bool] = []
    for at in times:
        state, is_admitted = rate_limit(state, limit=limit, period_ms=period_ms, now=T0 + at)
        found.append(is_admitted)
    return found


def joined(found: Gathering | None, asked: Gather, *, at: int, size: int = 1, run: str = "r") -> Gathering:
    return gather(
        found, asked, key="k", run_id=RunId(run), environment=DEV, function_id=F, event_bytes=size, now=T0 + at
    )


def test_a_start_counts_until_the_period_has_passed() -> None:
    assert admitted([0, 400, 999, 1_000, 1_399, 1_400], limit=2, period_ms=1_000) == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]


def test_what_a_rate_limit_remembers_ends_with_its_last_start() -> None:
    state, _ = rate_limit(None, limit=2, period_ms=1_000, now=T0)
    state, _ = rate_limit(state, limit=2, period_ms=1_000, now=T0 + 400)

    assert rate_expiry(state, period_ms=1_000) == T0 + 1_400


def test_of_a_large_rate_each_start_counts_to_the_end_of_its_span() -> None:
    limit, period_ms, span = RATE_LOG_MAX + 1, 60_000, 60
    start = -T0 % span
    times = [start] + [start + span - 1] * (limit - 1)

    # All of them are in one span, so the first one counts as long as the last one.
    assert admitted([*times, start + period_ms, start + period_ms + span - 2], limit=limit, period_ms=period_ms) == [
        *[True] * limit,
        False,
        False,
    ]
    assert admitted([*times, start + period_ms + span - 1], limit=limit, period_ms=period_ms)[-1]


def test_the_largest_limit_that_is_exact() -> None:
    times = [0] + [500] * (RATE_LOG_MAX - 1)

    assert admitted([*times, 59_999, 60_000, 60_000], limit=RATE_LOG_MAX, period_ms=60_000) == [
        *[True] * RATE_LOG_MAX,
        False,
        True,
        False,
    ]


def test_starts_before_the_clock_was_set_back_count_as_if_they_were_now() -> None:
    assert admitted([0, 10, 10, 0, 999, 1_000], limit=3, period_ms=1_000) == [True, True, True, False, False, True]
    assert admitted([0, 10, 10, -9_000, -8_001, -8_000], limit=3, period_ms=1_000) == [*[True] * 3, False, False, True]


def test_a_throttle_starts_a_burst_and_then_one_each_interval() -> None:
    state, allowed, next_at = throttle(None, limit=3, period_ms=1_000, burst=2, now=T0, wanted=5)
    assert (allowed, next_at) == (2, T0 + 333)  # a third of a second
    assert state is not None
    assert throttle_expiry(state) == T0 + 667

    assert throttle(state, limit=3, period_ms=1_000, burst=2, now=T0 + 332, wanted=1)[1:] == (0, T0 + 333)
    assert throttle(state, limit=3, period_ms=1_000, burst=2, now=T0 + 333, wanted=1)[1:] == (1, None)
    assert throttle(state, limit=3, period_ms=1_000, burst=2, now=T0 + 666, wanted=3)[1:] == (2, T0 + 1_000)


def test_a_throttle_loses_no_fraction_of_a_millisecond() -> None:
    """7 in a second: after 7 intervals it is exactly one second later."""
    state, at, starts = None, T0, 0
    while at < T0 + 60_000:
        state, allowed, next_at = throttle(state, limit=7, period_ms=1_000, burst=1, now=at, wanted=9)
        starts += allowed
        assert next_at is not None
        at = next_at

    assert (starts, at) == (7 * 60, T0 + 60_000)


def test_a_throttle_may_start_several_in_a_millisecond() -> None:
    state, starts = None, 0
    for at in range(T0, T0 + 1_000):
        state, allowed, _ = throttle(state, limit=2_500, period_ms=1_000, burst=1, now=at, wanted=9)
        starts += allowed

    assert starts == 2_500


def test_a_throttle_that_nobody_asks_for_a_start_says_nothing() -> None:
    assert throttle(None, limit=1, period_ms=1_000, burst=1, now=T0, wanted=0) == (None, 0, None)


def test_a_throttle_with_another_limit_goes_on_from_where_it_is() -> None:
    state, _, _ = throttle(None, limit=1, period_ms=60_000, burst=1, now=T0, wanted=1)

    # It was to be idle in a minute; of the new limit, one interval is the longest that it can be.
    assert throttle(state, limit=10, period_ms=60_000, burst=1, now=T0, wanted=1)[1:] == (0, T0 + 6_000)
    assert throttle(state, limit=10, period_ms=60_000, burst=2, now=T0, wanted=1)[1:] == (0, T0 + 6_000)


def test_a_debounce_starts_when_it_is_calm_or_at_the_latest_by_its_time_out() -> None:
    asked = Gather(GatherKind.DEBOUNCE, "k", 1_000, delay_max_ms=1_500)

    first = joined(None, asked, at=0, size=100)
    second = joined(first, asked, at=300, size=5, run="other")
    third = joined(second, asked, at=900)

    assert [(one.due_at - T0, one.version, one.event_count) for one in (first, second, third)] == [
        (1_000, 0, 1),
        (1_300, 1, 2),
        (1_500, 2, 3),
    ]
    assert (second.run_id, second.byte_count, second.first_at) == ("r", 5, T0)
    assert not is_full(third, asked)


def test_a_batch_starts_when_it_is_full_or_by_its_time_out() -> None:
    asked = Gather(GatherKind.BATCH, "k", 1_000, size_max=3)

    first = joined(None, asked, at=0, size=100)
    second = joined(first, asked, at=300, size=5, run="other")
    third = joined(second, asked, at=900)

    assert [(one.due_at - T0, is_full(one, asked)) for one in (first, second, third)] == [
        (1_000, False),
        (1_000, False),
        (900, True),
    ]
    assert (second.run_id, second.byte_count) == ("r", 105)
