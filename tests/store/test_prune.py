"""Retention: what has expired goes, with all that is its own; what anybody may need stays."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from stepwell.engine.core.model import Intake, JobKind
from stepwell.engine.core.partition import TIMERS
from stepwell.engine.core.trigger import start_again
from stepwell.engine.janitor import Retention
from stepwell.errors import StoreUnavailable
from stepwell.limits import DAY_MS, EVENT_ID_WINDOW_MS, HOUR_MS, PRUNE_WEIGHT_MAX
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, ReplicaId, RunId
from stepwell.protocol.sync import Trigger
from stepwell.store.found import EventKey
from stepwell.store.interface import Store
from stepwell.store.request import Pruned, PruneRequest, Verdict
from tests.store.conftest import DATABASES
from tests.store.database import QUEUE, Database, PostgresDatabase, Worker
from tests.store.past import KEPT_MS, LATE_MS, Past, Watched
from tests.unit.engine.making import function_of, op, ops, result

NOTHING = {"run": 0, "step": 0, "attempt": 0, "job": 0, "event": 0}


@pytest.fixture
def past(worker: Worker, database: Database) -> Past:
    """A replica with the function ``app-f``, which the event ``a`` starts."""
    return Past(worker, database)


# -- what expires -----------------------------------------------------------------------------------------------------


async def test_an_ended_run_goes_with_its_steps_its_attempts_and_its_event(past: Past) -> None:
    await past.ended()
    past.now += KEPT_MS + LATE_MS

    pruned = await past.sweep()

    assert past.counts() == NOTHING
    assert pruned == Pruned(runs=1, events=1)


async def test_nothing_goes_before_its_time(past: Past) -> None:
    await past.ended(took_ms=HOUR_MS)
    past.now += KEPT_MS - 1

    pruned = await past.sweep()

    assert pruned == Pruned()
    assert past.counts() == {"run": 1, "step": 1, "attempt": 2, "job": 0, "event": 1}


async def test_a_run_that_has_not_ended_keeps_everything_however_old(past: Past) -> None:
    run, _ = await past.started()
    past.now += 10 * KEPT_MS

    await past.sweep()

    assert past.counts() == {"run": 1, "step": 1, "attempt": 1, "job": 1, "event": 1}
    assert len((await past.worker.state(run.id)).memo) == 1


async def test_a_run_is_kept_from_its_end_on_not_from_its_start(past: Past) -> None:
    janitor = past.janitor()
    await past.ended(took_ms=20 * DAY_MS)
    past.now += KEPT_MS - 1
    await janitor.sweep_once()
    assert past.counts()["run"] == 1

    past.now += LATE_MS
    await janitor.sweep_once()

    assert past.counts() == NOTHING


async def test_an_event_that_started_nothing_goes_after_its_time(past: Past) -> None:
    await past.worker.ingest(past.event("nobody listens"))
    past.now += KEPT_MS - 1
    await past.sweep()
    assert past.counts()["event"] == 1

    past.now += LATE_MS
    pruned = await past.sweep()

    assert pruned == Pruned(events=1)
    assert past.counts()["event"] == 0


async def test_an_event_stays_as_long_as_any_of_its_runs(store: Store, database: Database) -> None:
    """One function's runs are kept longer than the other's, and than events."""
    worker = await Worker(store).begin(function_of("app-f"), function_of("app-g"))
    past = Past(worker, database)
    _, [intake] = await worker.ingest(past.event(), is_leased=True)
    for run, job in zip(intake.runs, intake.jobs, strict=True):
        await worker.reply(run.id, job, result(b"1"))
    janitor = past.janitor(Retention(KEPT_MS, {"app-g": 3 * KEPT_MS}))

    past.now += KEPT_MS + LATE_MS
    await janitor.sweep_once()
    assert database.query("select function_id from run") == [("id-of-app-g",)]
    assert past.counts("run", "event") == {"run": 1, "event": 1}

    past.now += 2 * KEPT_MS + LATE_MS
    pruned = await janitor.sweep_once()
    assert pruned == Pruned(runs=1, events=1)
    assert past.counts() == NOTHING


async def test_an_event_stays_longer_than_its_runs_where_these_are_kept_shorter(past: Past) -> None:
    janitor = past.janitor(Retention(KEPT_MS, {"app-f": DAY_MS}))
    await past.ended()

    past.now += 2 * DAY_MS
    assert await janitor.sweep_once() == Pruned(runs=1)
    past.now += KEPT_MS + LATE_MS
    assert await janitor.sweep_once() == Pruned(events=1)


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (Retention(None), {"run": 2, "event": 3}),
        (Retention(None, {"app-f": KEPT_MS}), {"run": 1, "event": 3}),
        (Retention(KEPT_MS, {"app-f": None}), {"run": 1, "event": 1}),
        (Retention(KEPT_MS, {"app-f": 100 * KEPT_MS}), {"run": 1, "event": 1}),
        (Retention(KEPT_MS, {"app-gone": None}), {"run": 0, "event": 0}),
    ],
)
async def test_what_is_kept_for_ever_stays(
    store: Store, database: Database, retention: Retention, left: dict[str, int]
) -> None:
    """By the environment's setting, or a function's: two functions have a run each, a third event starts nothing."""
    other = function_of("app-g", triggers=[Trigger(event="b")])
    past = Past(await Worker(store).begin(function_of("app-f"), other), database)
    await past.ended("a")
    await past.ended("b")
    await past.worker.ingest(past.event("nobody listens"))
    past.now += 2 * KEPT_MS

    await past.sweep(retention)

    assert past.counts("run", "event") == left


async def test_runs_of_functions_that_were_removed_go_too(past: Past) -> None:
    await past.ended()
    [function] = past.worker.registry.by_id
    await past.worker.sync("app", archived=[function], is_removed=True)
    past.now += KEPT_MS + LATE_MS

    await past.sweep()

    assert past.counts() == NOTHING
    assert past.database.query("select count(*) from function_version") == [(1,)]


async def test_a_function_that_comes_later_is_pruned_too(past: Past) -> None:
    janitor = past.janitor()
    await janitor.sweep_once()
    await past.worker.sync("other", function_of("other-h", app="other", triggers=[Trigger(event="h")]))
    await past.ended("h")
    past.now += KEPT_MS + LATE_MS

    await janitor.sweep_once()

    assert past.counts() == NOTHING


async def test_another_environments_history_is_not_touched(past: Past) -> None:
    """Servers of several environments may share a database: each has its own retention."""
    production = EnvironmentId("production")
    function = function_of("shop-f", app="shop", environment=production)
    theirs = Past(await Worker(past.worker.store, environment=production).begin(function), past.database)
    await theirs.ended()
    await theirs.worker.ingest(theirs.event("nobody listens"))
    past.now += 2 * KEPT_MS

    assert await past.sweep() == Pruned()
    assert theirs.counts("run", "event") == {"run": 1, "event": 2}

    theirs.now = past.now
    assert await theirs.sweep() == Pruned(runs=1, events=2)


async def test_windows_of_event_ids_go_when_they_are_over(past: Past) -> None:
    janitor = past.janitor(None)  # whatever is kept: a window that is over means nothing
    await past.worker.ingest(past.event(id="x"))
    past.now += EVENT_ID_WINDOW_MS - 1
    await past.worker.ingest(past.event(id="y"))
    assert await janitor.sweep_once() == Pruned()

    past.now += HOUR_MS
    assert await janitor.sweep_once() == Pruned(keys=1)
    assert past.database.query("select event_id from event_key") == [("y",)]

    past.now += EVENT_ID_WINDOW_MS
    assert await janitor.sweep_once() == Pruned(keys=1)


# -- one transaction --------------------------------------------------------------------------------------------------


async def test_a_request_passes_over_what_must_stay(past: Past) -> None:
    """Its candidates were read before, by a replica that may have been asleep since."""
    store = past.worker.store
    open_run, _ = await past.started()
    with_run = await past.ended()
    await past.worker.ingest(past.event("nobody listens"))
    past.now += 1
    late = past.event("nobody listens")
    await past.worker.ingest(late, past.event(id="x"))
    keys = [(FunctionId("id-of-app-f"), "x"), (FunctionId("id-of-app-f"), "never seen")]
    before = past.counts()
    request = PruneRequest(
        past.now,
        runs=[open_run.id, RunId("never seen")],
        events=[late.id, open_run.event_id, with_run.event_id, EventId("never seen")],
        keys=keys,
        received_before=past.now - 1,
    )

    found = await store.submit(request)
    without_events = await store.submit(request._replace(runs=[], received_before=None, events=past.events()))

    assert found.verdict is Verdict.COMMITTED
    assert found.pruned == without_events.pruned == Pruned()
    assert past.counts() == before


async def test_a_request_that_is_made_twice_deletes_once(past: Past) -> None:
    run = await past.ended()
    await past.worker.ingest(past.event(id="x"))
    past.now += KEPT_MS
    request = PruneRequest(
        past.now, runs=[run.id], keys=[(run.function_id, "x")], events=[run.event_id], received_before=past.now
    )

    both = await past.worker.submit_together([request, request])

    assert [found.pruned for found in both if not isinstance(found, BaseException)] == [
        Pruned(runs=1, events=1, keys=1),
        Pruned(),
    ]
    past.assert_whole()


async def test_a_large_run_goes_in_pieces_and_itself_last(past: Past) -> None:
    run = await past.ended()
    past.now += KEPT_MS
    many = [(run.id, f"more-{number}") for number in range(6)]
    for table in ("attempt", "step"):
        columns = [name for name in _columns(past.database, table) if name not in ("run_id", "id")]
        for run_id, id in many:
            past.database.execute(
                f"insert into {table} (run_id, id, {', '.join(columns)})"
                f" select ?, ?, {', '.join(columns)} from {table} where run_id = ? limit 1",
                run_id,
                id,
                run_id,
            )
    assert past.counts("attempt", "step") == {"attempt": 8, "step": 7}
    request = PruneRequest(past.now, runs=[run.id], received_before=past.now, rows_max=3)
    deleted: list[Pruned | None] = []

    while past.runs():
        past.assert_whole()
        deleted.append((await past.worker.store.submit(request)).pruned)

    assert deleted == [Pruned(rows=3), Pruned(rows=3), Pruned(rows=5), Pruned(rows=3), Pruned(rows=1, runs=1, events=1)]
    assert past.counts() == NOTHING


def _columns(database: Database, table: str) -> list[str]:
    if isinstance(database, PostgresDatabase):
        return [
            row[0]
            for row in database.query(
                "select column_name::text from information_schema.columns where table_name = ?", table
            )
        ]
    return [row[1] for row in database.query(f"pragma table_info({table})")]


async def test_what_a_run_weighs_is_its_rows_and_its_bytes(past: Past) -> None:
    """By this the janitor bounds its transactions; rows are counted up to a limit."""
    store = past.worker.store
    run, job = await past.worker.run(past.event(data="e" * 1000))
    reply = ops(op("StepRun", "s", data="x" * 5000), op("StepRun", "t", data="y" * 3000))
    [discover] = (await past.worker.reply(run.id, job, reply, is_leased=True)).jobs
    await past.worker.reply(run.id, discover, result(b'"' + b"z" * 1998 + b'"'))
    still_open, _ = await past.started()

    [aged, young] = await store.walk_runs(run.function_id, after="", ended_before=past.now, limit=10, count_max=100)
    [few] = await store.walk_runs(run.function_id, after="", ended_before=past.now, limit=1, count_max=1)
    [not_yet, _] = await store.walk_runs(run.function_id, after="", ended_before=past.now - 1, limit=10, count_max=100)
    rest = await store.walk_runs(run.function_id, after=run.id, ended_before=past.now, limit=10, count_max=100)

    assert (aged.id, aged.row_count) == (run.id, 6)  # the run, its event, two steps, two attempts
    assert 11_000 < aged.byte_count < 11_500
    assert (young.id, young.row_count) == (still_open.id, None)
    assert (few.id, few.row_count) == (run.id, 4)
    assert (not_yet.id, not_yet.row_count) == (run.id, None)
    assert rest == [young]


async def test_walks_give_what_comes_after_an_id(past: Past) -> None:
    store = past.worker.store
    events = [past.event("nobody listens") for _ in range(3)]
    await past.worker.ingest(*events, past.event("a"))
    await past.worker.ingest(past.event(id="x"), past.event(id="y"))
    function = FunctionId("id-of-app-f")
    at = past.now

    walked = await store.walk_events(past.worker.environment, after=events[0].id, received_before=at, limit=3)
    early = await store.walk_events(past.worker.environment, after="", received_before=at - 1, limit=1)
    keys = await store.walk_event_keys(("", ""), limit=10)
    rest = await store.walk_event_keys((function, "x"), limit=10)

    assert [(aged.id, aged.row_count) for aged in walked[:2]] == [(event.id, 1) for event in events[1:]]
    assert walked[0].byte_count == len(events[1].body)
    assert walked[2].row_count is None  # it has a run
    assert early[0].row_count is None
    assert keys == [EventKey(function, id, at + EVENT_ID_WINDOW_MS) for id in ("x", "y")]
    assert rest == keys[1:]


# -- and others -------------------------------------------------------------------------------------------------------


async def test_a_late_reply_to_a_pruned_run_changes_nothing(past: Past) -> None:
    run, job = await past.started()
    late = past.worker.transition(await past.worker.state(run.id), job, result(b"1"))
    await past.worker.store.submit(await past.worker.cancellation(run.id))
    past.now += KEPT_MS + LATE_MS
    await past.sweep()

    found = await past.worker.store.submit(past.worker.commit(late))

    assert found.verdict is Verdict.LOST
    assert past.counts() == NOTHING


def again(past: Past, original: Any) -> Intake:
    """Start a run once more, as ``Engine.rerun`` does."""
    function = past.worker.registry.by_id[original.run.function_id]
    found = start_again(
        original.event,
        function,
        past.worker.registry,
        now=past.now,
        run_id=RunId(past.new_id()),
        again=original.run.id,
    )
    return past.worker.leased_intake(Intake(original.event, (found,), is_stored=True))


async def test_a_run_whose_event_was_pruned_does_not_start_again(past: Past) -> None:
    """It was read before; without its event a run could never go on."""
    run = await past.ended()
    original = await past.worker.store.load_run(run.id)
    past.now += KEPT_MS + LATE_MS
    await past.sweep()

    found = await past.worker.store.submit(past.worker.ingestion(again(past, original)))

    assert found.duplicate == {run.event_id}
    assert found.leased == frozenset()
    assert past.counts() == NOTHING


async def test_a_run_that_starts_again_keeps_its_event_and_not_the_run_before(past: Past) -> None:
    """The id of the original stays, and leads nowhere."""
    run = await past.ended()
    original = await past.worker.store.load_run(run.id)
    past.now += KEPT_MS + LATE_MS
    intake = again(past, original)
    await past.worker.store.submit(past.worker.ingestion(intake))

    await past.sweep()

    assert past.runs() == [intake.runs[0].id]
    detail = await past.worker.store.load_run(intake.runs[0].id)
    assert detail is not None
    assert (detail.event.id, detail.run.original_run_id) == (run.event_id, run.id)


async def test_a_sweep_that_breaks_off_leaves_nothing_behind_that_belongs_to_nothing(past: Past) -> None:
    """At each of its requests in turn; the next janitor does the rest."""
    for _ in range(5):
        await past.ended()
        past.now += 1
    await past.worker.ingest(past.event("nobody listens"))
    past.database.execute("update step set memo = ?", b"m" * (PRUNE_WEIGHT_MAX * 1024 // 2))  # a request for each
    past.now += KEPT_MS + LATE_MS
    sweeps = 0

    while past.counts() != NOTHING:
        store = Watched(past.worker.store, fail=_after(1))
        with contextlib.suppress(StoreUnavailable):
            await past.janitor(store=store).sweep_once()
        sweeps += 1
        past.assert_whole()
        assert len(past.runs()) == 5 - sweeps

    assert sweeps == 5


def _after(count: int) -> Callable[[str, Any], Exception | None]:
    """Fail at each request after so many."""
    requests = itertools.count()
    return lambda verb, _: StoreUnavailable("no power") if verb == "submit" and next(requests) >= count else None


async def test_what_a_sweep_could_not_delete_the_next_one_does(past: Past) -> None:
    """The same janitor: its walks had passed it."""
    await past.ended()
    past.now += KEPT_MS + LATE_MS
    failures = [StoreUnavailable("the disk is full")]
    store = Watched(past.worker.store, fail=lambda name, _: failures.pop() if name == "submit" and failures else None)
    janitor = past.janitor(store=store)

    with pytest.raises(StoreUnavailable):
        await janitor.sweep_once()
    pruned = await janitor.sweep_once()

    assert pruned == Pruned(runs=1, events=1)


async def test_without_anything_to_delete_nothing_is_asked(past: Past) -> None:
    """But for one look a day, in which nothing is written."""
    await past.ended()
    await past.started()
    store = Watched(past.worker.store)
    janitor = past.janitor(store=store)
    await janitor.sweep_once()
    store.asked.clear()

    for _ in range(23):
        past.now += HOUR_MS
        await janitor.sweep_once()
    assert store.asked == []

    past.now += HOUR_MS
    await janitor.sweep_once()
    assert sorted(store.asked) == ["load_functions", "walk_event_keys", "walk_events", "walk_runs", "walk_samples"]


# -- several replicas, which only PostgreSQL has ----------------------------------------------------------------------


on_postgres = pytest.mark.parametrize("database", DATABASES[1:], indirect=True)


async def connected(past: Past) -> Any:
    assert isinstance(past.database, PostgresDatabase)
    connection: Any = await asyncpg.connect(past.database.url, server_settings={"search_path": "stepwell"})
    return connection


@on_postgres
async def test_two_replicas_that_sweep_at_once_share_the_work(past: Past) -> None:
    for _ in range(30):
        await past.ended()
        past.now += 1
    past.now += KEPT_MS + LATE_MS
    other = Past(Worker(await past.database.open("replica-2")), past.database)
    await past.worker.store.enter(ReplicaId("replica-1"))  # opening the other had declared it dead
    other.now = past.now

    one, two = await asyncio.gather(past.sweep(), other.sweep())

    assert one.runs + two.runs == one.events + two.events == 30
    assert past.counts() == NOTHING


@on_postgres
async def test_deleting_passes_over_what_another_transaction_has(past: Past) -> None:
    """A late reply has one run, and one event is kept for a run that starts again: neither is waited for."""
    replied, kept, free = [await past.ended() for _ in range(3)]
    past.now += KEPT_MS + LATE_MS
    connection = await connected(past)
    try:
        async with connection.transaction():
            await connection.execute("select 1 from run where id = $1 for no key update", replied.id)
            await connection.execute("select 1 from event where id = $1 for key share", kept.event_id)
            async with asyncio.timeout(5):
                pruned = await past.sweep()
    finally:
        await connection.close()

    assert pruned == Pruned(runs=2, events=1)
    assert past.runs() == [replied.id]
    assert past.events() == [replied.event_id, kept.event_id]
    assert free.event_id not in past.events()
    assert await past.sweep() == Pruned(runs=1, events=2)


# -- size -------------------------------------------------------------------------------------------------------------

A_DAYS_RUNS = 10


async def a_day(past: Past, *, number: int) -> None:
    """Send a day's events, in a few group commits; of the runs some fail, some take hours, one takes weeks."""
    worker = past.worker
    events = [past.event(data="x" * 2_000) for _ in range(A_DAYS_RUNS)]
    _, intakes = await worker.ingest(
        *events, past.event("nobody listens"), past.event(id=f"own-{number % 3}"), is_leased=True
    )
    jobs = [intake.jobs[0] for intake in intakes if intake.jobs and intake.jobs[0].owner is not None]
    after = await _replied(past, jobs, ops(op("StepRun", "s", data="y" * 2_000)))
    past.now += DAY_MS // 2
    sleeping = after.pop() if number % 50 == 0 else None
    if sleeping is not None:
        await _replied(past, [sleeping], ops(op("Sleep", "nap", value="40d")))
    await _replied(past, after, result(b"1"))
    past.now += DAY_MS // 2
    while due := [claimed.job for claimed in await worker.claim(TIMERS, QUEUE)]:  # whoever slept enough
        for job in due:
            if job.kind is JobKind.TIMER:
                await worker.fire(job.run_id, job)
            else:
                await worker.reply(job.run_id, job, result(b"1"))


async def _replied(past: Past, jobs: list[Any], reply: Any) -> list[Any]:
    """Commit replies to jobs together; return the jobs that follow."""
    states = await past.worker.store.load_runs([job.run_id for job in jobs])
    transitions = [past.worker.transition(states[job.run_id], job, reply, is_leased=True) for job in jobs]
    results = await past.worker.submit_together([past.worker.commit(transition) for transition in transitions])
    assert all(not isinstance(found, BaseException) and found.verdict is Verdict.COMMITTED for found in results)
    return [job for transition in transitions for job in transition.jobs if job.owner is not None]


def _size(database: Database) -> int:
    """Return how many bytes the database's files have."""
    if isinstance(database, PostgresDatabase):
        [(size,)] = database.query(
            "select sum(pg_total_relation_size(oid)) from pg_class where relnamespace = 'stepwell'::regnamespace"
            " and relkind = 'r'"
        )
        return int(size)
    [(pages,)] = database.query("pragma page_count")
    return pages * 4096


async def test_in_a_hundred_days_with_a_retention_of_thirty_the_size_becomes_steady(past: Past) -> None:
    janitor = past.janitor()
    counts: list[dict[str, int]] = []
    sizes: list[int] = []

    for number in range(100):
        await a_day(past, number=number)
        await janitor.sweep_once()
        if isinstance(past.database, PostgresDatabase):
            past.database.execute("vacuum event, run, step, attempt, job, event_key")  # as autovacuum would
        if number % 10 == 9:
            counts.append(past.counts("run", "step", "attempt", "event", "event_key"))
            sizes.append(_size(past.database))
            past.assert_whole()

    assert counts[2]["run"] > 29 * A_DAYS_RUNS  # nothing goes early
    for later in counts[5:]:
        assert later["run"] <= 33 * (A_DAYS_RUNS + 1)
        assert later["event"] <= 33 * (A_DAYS_RUNS + 2)
        assert later["event_key"] <= 3
        assert later["step"] <= later["run"] * 1.1
        assert later["attempt"] <= later["run"] * 2.2
    assert max(sizes[7:]) <= 1.05 * sizes[6]
    assert max(sizes) < 1.3 * sizes[3]


async def test_sweeping_beside_the_work_disturbs_nothing(past: Past) -> None:
    """Senders and calls go on at full speed, a day in each burst, while two janitors sweep as fast as they can."""
    worker = past.worker
    stores = [worker.store]
    if isinstance(past.database, PostgresDatabase):
        stores.append(await past.database.open("replica-2"))
        await worker.store.enter(ReplicaId("replica-1"))  # opening the other had declared it dead
    is_over = False
    still_open = await past.started()

    async def sweep(store: Store) -> int:
        janitor = past.janitor(store=store)
        runs = 0
        while not is_over:
            runs += (await janitor.sweep_once()).runs
            await asyncio.sleep(0)
        return runs

    async def work() -> None:
        nonlocal is_over
        jobs: list[Any] = []
        for _ in range(80):
            events = [past.event() for _ in range(A_DAYS_RUNS)]
            (_, intakes), follow_ups = await asyncio.gather(
                worker.ingest(*events, is_leased=True),
                _replied(past, jobs, ops(op("StepRun", "s", data=1))),
            )
            await _replied(past, follow_ups, result(b"1"))
            jobs = [intake.jobs[0] for intake in intakes]
            past.now += DAY_MS
        is_over = True

    async with asyncio.timeout(50):
        sweeping = [asyncio.create_task(sweep(store)) for store in stores]
        await work()
        swept = sum([await sweeper for sweeper in sweeping])
    pruned = await past.sweep()

    past.assert_whole()
    assert swept + pruned.runs >= 47 * A_DAYS_RUNS
    assert past.counts("run")["run"] <= 33 * A_DAYS_RUNS + 1
    assert still_open[0].id in past.runs()
