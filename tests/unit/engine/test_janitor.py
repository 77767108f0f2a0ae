"""The janitor's pace and its transactions, on a history that is made up and in a time that is counted."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from stepwell.engine import janitor as module
from stepwell.engine.clock import Clock
from stepwell.engine.ids import ulid_text
from stepwell.engine.janitor import Janitor, Retention
from stepwell.errors import StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import DAY_MS, EVENT_ID_WINDOW_MS, HOUR_MS, MINUTE_MS, PRUNE_RUNS_MAX, PRUNE_WEIGHT_MAX
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, RunId
from stepwell.store.found import Aged, EventKey, Minute
from stepwell.store.interface import Fenced, Store
from stepwell.store.request import Pruned, PruneRequest, Result, Verdict
from tests.unit.engine.making import DEV, T0, function_of

KEPT_MS = 30 * DAY_MS
NOW = T0 + 100 * DAY_MS


class History:
    """Runs, events and windows in memory, as a store shows them; each verb takes its time."""

    def __init__(self) -> None:
        self.now = NOW
        self.elapsed_s = 0.0
        self.walk_s = 0.0
        self.prune_s = 0.0
        self.runs: dict[str, list[Aged]] = {}
        self.events: list[Aged] = []
        self.keys: list[EventKey] = []
        self.samples: list[Minute] = []
        self.requests: list[PruneRequest] = []
        self.asked: list[str] = []
        self.slept_s: list[float] = []
        self.failures: list[Exception] = []
        self.is_taken_by_another = False
        self._gone: set[str] = set()
        self._numbers = itertools.count(1)
        self.before_sleep: Callable[[float], None] = lambda _: None

    def janitor(self, retention: Retention | int | None = KEPT_MS) -> Janitor:
        if not isinstance(retention, Retention):
            retention = Retention(retention)
        clock = Clock(lambda: self.now, elapsed=lambda: self.elapsed_s)
        return Janitor(cast("Store", self), clock, DEV, retention)

    def id(self, at: int) -> str:
        return ulid_text(at, next(self._numbers).to_bytes(10, "big"))

    def add(self, at: int, *, slug: str = "app-f", row_count: int | None = 5, byte_count: int = 0) -> str:
        """Add a run that was queued at a time; a ``row_count`` of None is one that hasn't ended."""
        id = self.id(at)
        self.runs.setdefault(slug, []).append(Aged(id, row_count, byte_count))
        return id

    async def sleep(self, s: float) -> None:
        self.before_sleep(s)
        self.slept_s.append(s)
        self.elapsed_s += s
        self.now += round(s * 1000)
        await asyncio.sleep(0)

    # -- the store --------------------------------------------------------------------------------------------------

    async def load_functions(self, _environment: EnvironmentId) -> tuple[int, list[Any]]:
        self.asked.append("functions")
        return 1, [function_of(slug) for slug in self.runs]

    async def walk_runs(
        self, function_id: FunctionId, *, after: str, ended_before: int, limit: int, count_max: int
    ) -> list[Aged]:
        assert count_max == PRUNE_WEIGHT_MAX
        self.asked.append(f"runs of {function_id}")
        self.elapsed_s += self.walk_s
        met = itertools.islice(self._after(self.runs[function_id.removeprefix("id-of-")], after), limit)
        young = ulid_text(max(0, ended_before), bytes(10))
        return [aged if aged.id < young else Aged(aged.id) for aged in met]

    async def walk_events(
        self, _environment: EnvironmentId, *, after: str, received_before: int, limit: int
    ) -> list[Aged]:
        self.asked.append("events")
        assert received_before == self.now - KEPT_MS
        return list(itertools.islice(self._after(self.events, after), limit))

    async def walk_event_keys(self, after: tuple[str, str], *, limit: int) -> list[EventKey]:
        self.asked.append("keys")
        return [key for key in self.keys if key[:2] > after][:limit]

    async def walk_samples(self, function_id: FunctionId, *, after: int, until: int, limit: int) -> list[Minute]:
        self.asked.append(f"samples of {function_id}")
        return [one for one in self.samples if one.function_id == function_id and after < one.at <= until][:limit]

    async def submit(self, request: PruneRequest) -> Result:
        if self.failures:
            raise self.failures.pop(0)
        self.requests.append(request)
        self.elapsed_s += self.prune_s
        return Result(Verdict.COMMITTED, pruned=self._prune(request))

    def _prune(self, request: PruneRequest) -> Pruned:
        if self.is_taken_by_another:
            return Pruned()
        if request.rows_max is not None:
            [(runs, at)] = [
                (runs, at) for runs in self.runs.values() for at, aged in enumerate(runs) if aged.id == request.runs[0]
            ]
            left = (runs[at].row_count or 0) - request.rows_max
            runs[at] = runs[at]._replace(row_count=left)
            if left > 0:
                return Pruned(rows=request.rows_max)
        self._gone.update(request.runs, request.events)
        self.keys = [key for key in self.keys if key[:2] not in request.keys]
        self.samples = [sample for sample in self.samples if sample not in request.samples]
        return Pruned(len(request.runs), len(request.events), len(request.keys), samples=len(request.samples))

    def _after(self, rows: list[Aged], after: str) -> Iterator[Aged]:
        first = bisect.bisect_right(rows, after, key=lambda aged: aged.id)
        return (aged for aged in itertools.islice(rows, first, None) if aged.id not in self._gone)

    def ids(self) -> list[str]:
        return [aged.id for runs in self.runs.values() for aged in runs if aged.id not in self._gone]


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> History:
    history = History()
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=history.sleep))
    return history


def old(history: History, count: int, **named: Any) -> list[str]:
    return [history.add(T0 + number, **named) for number in range(count)]


# -- transactions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "row_count", "byte_count", "sizes"),
    [
        (250, 5, 0, [100, 100, 50]),
        (100, 50, 0, [40, 40, 20]),
        (4, 2_000, 0, [1, 1, 1, 1]),
        (30, 0, 200 * 1024, [10, 10, 10]),
    ],
)
async def test_a_transaction_is_bounded_by_runs_rows_and_bytes(
    history: History, count: int, row_count: int, byte_count: int, sizes: list[int]
) -> None:
    old(history, count, row_count=row_count, byte_count=byte_count)

    pruned = await history.janitor().sweep_once()

    assert [len(request.runs) for request in history.requests] == sizes
    assert all(request.rows_max is None for request in history.requests)
    assert pruned == Pruned(runs=count)
    assert (PRUNE_RUNS_MAX, PRUNE_WEIGHT_MAX) == (100, 2_000)


@pytest.mark.parametrize(
    ("row_count", "byte_count", "rows_max", "request_count"),
    [
        (6_002, 0, 2_000, 4),
        (2_001, 0, 2_000, 2),
        (10, 32 * 1024 * 1024, 1, 10),  # ten steps of three MiB
        (1_000, 32 * 1024 * 1024, 59, 17),
    ],
)
async def test_a_run_too_large_for_one_transaction_goes_in_pieces(
    history: History, row_count: int, byte_count: int, rows_max: int, request_count: int
) -> None:
    [large] = old(history, 1, row_count=row_count, byte_count=byte_count)

    pruned = await history.janitor().sweep_once()

    assert [(request.runs, request.rows_max) for request in history.requests] == [([large], rows_max)] * request_count
    assert pruned.runs == 1
    assert history.ids() == []


async def test_a_large_run_that_another_replica_is_at_is_left_to_it(history: History) -> None:
    old(history, 1, row_count=6_002)
    history.is_taken_by_another = True

    await history.janitor().sweep_once()

    assert len(history.requests) == 1


async def test_runs_of_many_functions_share_a_transaction(history: History) -> None:
    for number in range(50):
        history.add(T0 + number, slug=f"app-{number}")

    await history.janitor().sweep_once()

    assert [len(request.runs) for request in history.requests] == [50]


async def test_runs_events_windows_and_samples_share_a_transaction(history: History) -> None:
    [run] = old(history, 1)
    history.events = [Aged(history.id(T0), 1, 100), Aged(history.id(T0))]
    history.keys = [EventKey(FunctionId("f"), "x", NOW), EventKey(FunctionId("f"), "y", NOW + 1)]
    history.samples = [Minute(FunctionId("id-of-app-f"), T0)]
    event = history.events[0].id

    await history.janitor().sweep_once()

    assert history.requests == [
        PruneRequest(
            NOW,
            runs=[RunId(run)],
            events=[EventId(event)],
            keys=[(FunctionId("f"), "x")],
            samples=[Minute(FunctionId("id-of-app-f"), T0)],
            received_before=NOW - KEPT_MS,
        )
    ]


async def test_without_a_retention_of_its_own_the_environments_events_stay_with_their_runs_gone(
    history: History,
) -> None:
    old(history, 1)

    await history.janitor(Retention(None, {"app-f": KEPT_MS})).sweep_once()

    assert [request.received_before for request in history.requests] == [None]
    assert "events" not in history.asked


# -- walks ------------------------------------------------------------------------------------------------------------


async def test_what_has_not_ended_is_stepped_over_and_met_again_in_the_next_round(history: History) -> None:
    still_open = history.add(T0, row_count=None)
    old(history, 150)
    janitor = history.janitor()
    await janitor.sweep_once()
    assert history.ids() == [still_open]
    history.runs["app-f"] = [Aged(still_open, 5)]

    history.now += DAY_MS - HOUR_MS
    assert await janitor.sweep_once() == Pruned()
    history.now += HOUR_MS
    assert await janitor.sweep_once() == Pruned(runs=1)


async def test_a_walk_goes_on_where_it_stood_as_soon_as_the_next_is_old_enough(history: History) -> None:
    slack_ms = KEPT_MS // 100
    history.add(NOW - KEPT_MS - slack_ms - 1)
    history.add(NOW - KEPT_MS - slack_ms + 5_000)
    janitor = history.janitor()
    await janitor.sweep_once()
    history.asked.clear()

    history.now += 5_000
    assert await janitor.sweep_once() == Pruned()
    assert history.asked == []
    history.now += 1
    assert await janitor.sweep_once() == Pruned(runs=1)
    assert history.asked == ["runs of id-of-app-f"]


async def test_functions_take_turns(history: History) -> None:
    """One with a long backlog doesn't keep the others waiting."""
    old(history, 300, slug="app-long")
    old(history, 1, slug="app-short")

    await history.janitor().sweep_once()

    turns = [asked for asked in history.asked if asked.startswith("runs")]
    assert turns.index("runs of id-of-app-short") == 1
    assert turns.count("runs of id-of-app-long") == 4
    assert history.ids() == []


async def test_windows_are_walked_from_one_end_to_the_other(history: History) -> None:
    history.keys = [EventKey(FunctionId("f"), f"{number:04d}", NOW - number % 2) for number in range(1_200)]
    history.keys += [EventKey(FunctionId("g"), "open", NOW + 3 * HOUR_MS)]
    janitor = history.janitor(None)

    pruned = await janitor.sweep_once()

    assert pruned == Pruned(keys=1_200)
    assert history.asked.count("keys") == 3
    history.asked.clear()
    history.now += 3 * HOUR_MS - 1
    assert await janitor.sweep_once() == Pruned()
    history.now += 1
    assert await janitor.sweep_once() == Pruned(keys=1)


async def test_samples_are_kept_as_long_as_their_functions_runs(history: History) -> None:
    history.runs = {"app-f": [], "app-g": []}
    ids = [FunctionId("id-of-app-f"), FunctionId("id-of-app-g")]
    history.samples = [Minute(id, NOW - DAY_MS - number * MINUTE_MS) for id in ids for number in reversed(range(1_200))]
    janitor = history.janitor(Retention(KEPT_MS, {"app-g": DAY_MS}))

    pruned = await janitor.sweep_once()

    assert pruned == Pruned(samples=1_200)
    assert {sample.function_id for sample in history.samples} == {ids[0]}
    assert history.asked.count("samples of id-of-app-g") == 3
    history.samples.append(Minute(ids[1], NOW - DAY_MS + HOUR_MS - 1))
    history.now += HOUR_MS - 1
    assert await janitor.sweep_once() == Pruned()
    history.now += 1
    assert await janitor.sweep_once() == Pruned(samples=1)


async def test_new_windows_are_looked_for_when_the_first_of_them_may_be_over(history: History) -> None:
    janitor = history.janitor(None)
    await janitor.sweep_once()
    history.asked.clear()

    history.now += EVENT_ID_WINDOW_MS - 1
    await janitor.sweep_once()
    assert "keys" not in history.asked

    history.now += 1
    await janitor.sweep_once()
    assert "keys" in history.asked


async def test_ids_of_a_strange_time_harm_nothing(history: History) -> None:
    """A sender's seed may name any time: the first that an id can hold, or the last."""
    history.events = [Aged(ulid_text(0, bytes(10)), 1, 10), Aged(ulid_text((1 << 48) - 1, bytes(10)))]

    pruned = await history.janitor().sweep_once()

    assert pruned == Pruned(events=1)


@pytest.mark.parametrize("now", [0, KEPT_MS - 1])
async def test_a_clock_before_its_time_harms_nothing(history: History, now: int) -> None:
    history.now = now
    history.add(now)

    assert await history.janitor().sweep_once() == Pruned()


async def test_a_function_that_is_named_and_not_there_is_said_once(history: History) -> None:
    janitor = history.janitor(Retention(KEPT_MS, {"app-typo": DAY_MS}))
    with capture_logs() as logs:
        await janitor.sweep_once()  # nothing is registered yet
        old(history, 1)
        for _ in range(3):
            history.now += DAY_MS
            await janitor.sweep_once()

    said = [line for line in logs if line["event"] == "retention.no_such_function"]
    assert [line["functions"] for line in said] == [["app-typo"]]


# -- pace -------------------------------------------------------------------------------------------------------------


async def test_a_tenth_of_the_time_is_spent(history: History) -> None:
    old(history, 1_000)
    history.walk_s, history.prune_s = 0.001, 0.005

    await history.janitor().sweep_once()

    worked_s = history.elapsed_s - sum(history.slept_s)
    assert worked_s == pytest.approx(11 * 0.001 + 10 * 0.005)
    assert worked_s / history.elapsed_s == pytest.approx(0.1)


async def test_a_pause_is_bounded(history: History) -> None:
    """A transaction that took a minute, since the disk was slow, must not put off the rest for ten."""
    old(history, 1)
    history.prune_s = 60.0

    await history.janitor().sweep_once()

    assert max(history.slept_s) == 10.0


async def sweep_every_minute(history: History, janitor: Janitor, *, minutes: int, expired_a_minute: int) -> list[float]:
    """Sweep as ``run`` does, while so much expires; return how long each sweep took."""
    took: list[float] = []
    filled_s = history.elapsed_s
    for _ in range(minutes):
        count = round((history.elapsed_s - filled_s) / 60 * expired_a_minute)
        filled_s = history.elapsed_s
        history.runs["app-f"] = [aged for aged in history.runs["app-f"] if aged.id not in history._gone]
        history.runs["app-f"] += [Aged(history.id(history.now - KEPT_MS * 2), 5) for _ in range(count)]
        history.now += DAY_MS  # a new round, in which all of them are met
        began_s = history.elapsed_s
        await janitor.sweep_once()
        took.append(history.elapsed_s - began_s)
        history.elapsed_s += 60
    return took


async def test_it_works_more_when_more_expires_than_it_deletes(history: History) -> None:
    """What expires in a minute takes 12 seconds to delete, twice what a tenth of the time allows."""
    old(history, 1)
    history.prune_s = 1.0

    took = await sweep_every_minute(history, history.janitor(), minutes=30, expired_a_minute=1_200)

    assert max(took) < 600
    assert max(took[-5:]) <= max(took[:10])
    assert history.ids() == []


async def test_it_says_so_when_even_half_of_the_time_is_too_little(history: History) -> None:
    old(history, 1)
    history.prune_s = 1.0

    with capture_logs() as logs:
        await sweep_every_minute(history, history.janitor(), minutes=5, expired_a_minute=3_200)

    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["retention.behind"]


async def test_a_backlog_at_the_start_is_no_reason_to_hurry(history: History) -> None:
    old(history, 3_000)
    history.prune_s = 1.0
    janitor = history.janitor()

    await janitor.sweep_once()
    assert history.elapsed_s == pytest.approx(300)
    history.slept_s.clear()
    history.runs["app-f"] = [Aged(history.id(T0), 5)]
    history.now += DAY_MS
    await janitor.sweep_once()

    assert max(history.slept_s) == pytest.approx(9.0)


# -- its life ---------------------------------------------------------------------------------------------------------


async def rests(history: History, janitor: Janitor, *, count: int) -> Sequence[float]:
    """Run until it has rested so often; return for how long each time. Pauses within a sweep take no time here."""
    ended = asyncio.Event()
    found: list[float] = []

    def before_sleep(s: float) -> None:
        if s >= 60:
            found.append(s)
        if len(found) == count:
            ended.set()

    history.before_sleep = before_sleep
    running = asyncio.create_task(janitor.run())
    await asyncio.wait([running, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    await asyncio.wait([running])
    return found[:count]


async def test_it_rests_for_an_hour_when_there_is_nothing_to_do(history: History) -> None:
    """And asks nothing meanwhile: a look at each function a day is all."""
    history.runs = {"app-f": [], "app-g": []}

    found = await rests(history, history.janitor(), count=100)

    assert found == [60.0, *[3_600.0] * 22, *found[23:]]
    assert sum(found) > 3 * 86_400
    assert history.asked.count("functions") <= 1 + sum(found) // 86_400
    assert len(history.asked) <= 7 * (1 + sum(found) // 86_400)
    assert history.requests == []


async def test_it_rests_for_a_minute_at_least(history: History) -> None:
    for number in range(600):
        history.add(NOW - KEPT_MS - KEPT_MS // 100 + number * 1_000)

    found = await rests(history, history.janitor(), count=12)

    assert found == [60.0] * 10 + [found[10]] + [3_600.0]
    assert history.ids() == []
    assert len(history.requests) == 10


async def test_it_goes_on_after_the_database_was_away(history: History) -> None:
    old(history, 1)
    history.failures = [StoreUnavailable("away"), Fenced("dead"), StoreError("no"), RuntimeError("a bug")]

    with capture_logs() as logs:
        found = await rests(history, history.janitor(), count=6)

    assert found[:5] == [60.0] * 5
    assert history.ids() == []
    said = [line["event"] for line in logs if line["log_level"] != "debug"]
    assert said == ["retention.refused", "janitor.broke"]


async def test_it_ends_with_the_store(history: History) -> None:
    old(history, 1)
    history.failures = [StoreClosed("the store is closed")]

    await history.janitor().run()

    assert history.requests == []


def test_a_function_may_be_kept_longer_shorter_or_for_ever() -> None:
    retention = Retention(KEPT_MS, {"app-f": DAY_MS, "app-g": None})

    assert [retention.of(name) for name in ("app-f", "app-g", "app-h")] == [DAY_MS, None, KEPT_MS]
    assert Retention().of("app-f") is None
