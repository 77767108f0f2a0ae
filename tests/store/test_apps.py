"""Apps, functions, schedules and settings."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from stepwell.engine.core.model import Function, Tick
from stepwell.engine.core.trigger import start
from stepwell.protocol.sync import Trigger
from stepwell.store.found import DueSchedule, RunFilter, Schedule
from stepwell.store.request import SettingRequest, TickRequest, Verdict
from tests.store.database import Database, Worker
from tests.unit.engine.making import DEV, T0, event_of, function_of

HOUR = 3_600_000


async def loaded(worker: Worker) -> dict[str, Function]:
    _, functions = await worker.store.load_functions(DEV)
    return {function.slug: function for function in functions}


# -- apps and functions ---------------------------------------------------------------------------------------------


async def test_a_sync_registers_an_app_and_its_functions(worker: Worker) -> None:
    [app] = await worker.store.load_apps(DEV)
    assert (app.name, app.url, app.checksum, app.archived_at) == ("app", "http://localhost:3000/app", "sum", None)

    function = (await loaded(worker))["app-f"]
    assert msgspec.structs.replace(function, registered=b"") == function_of()
    assert msgspec.json.decode(function.registered) == msgspec.to_builtins(function.config)


async def test_a_sync_raises_the_revision(worker: Worker) -> None:
    before = worker.registry.revision

    await worker.sync("app", function_of())

    assert worker.registry.revision == before + 1


async def test_of_two_syncs_at_once_one_is_stale(worker: Worker) -> None:
    registrations = [worker.registration(name, function_of(f"{name}-f", app=name)) for name in ("one", "two")]

    results = await worker.submit_together(registrations)

    assert [getattr(found, "verdict", found) for found in results] == [Verdict.COMMITTED, Verdict.STALE]
    assert sorted(await loaded(worker)) == ["app-f", "one-f"]


async def test_each_version_of_a_function_is_kept(worker: Worker, database: Database) -> None:
    await worker.sync("app", function_of(version=2, retries=1))

    assert (await loaded(worker))["app-f"].max_attempts == 2
    assert database.query("select version from function_version order by version") == [(1,), (2,)]


async def test_archived_functions_are_kept_and_start_no_more(worker: Worker) -> None:
    run, job = await worker.run(event_of(1))
    await worker.sync("app", archived=[function_of().id])

    assert (await loaded(worker))["app-f"].is_archived
    _, [intake] = await worker.ingest(event_of(2))
    assert intake.runs == ()
    assert (await worker.state(run.id)).jobs == {job.id: job}


async def test_an_archived_function_comes_back_by_a_sync(worker: Worker) -> None:
    await worker.sync("app", archived=[function_of().id])

    await worker.sync("app", function_of())

    assert not (await loaded(worker))["app-f"].is_archived


async def test_a_removed_app_is_archived_with_its_functions_and_comes_back(worker: Worker) -> None:
    await worker.sync("app", archived=[function_of().id], is_removed=True)
    [app] = await worker.store.load_apps(DEV)
    assert app.archived_at == T0
    assert app.checksum == ""  # so that the same registration is a change

    await worker.sync("app", function_of())
    [app] = await worker.store.load_apps(DEV)
    assert (app.archived_at, app.checksum) == (None, "sum")


async def test_an_environment_is_made_once(worker: Worker) -> None:
    revision = worker.registry.revision

    await worker.store.add_environment(DEV, now=T0 + 5)

    assert (await worker.store.load_functions(DEV))[0] == revision


async def test_environments_do_not_see_each_other(worker: Worker) -> None:
    other = Worker(worker.store, environment=type(DEV)("branch"))
    await other.begin(function_of("other-f", app="other", environment=other.environment))

    assert list(other.registry.by_slug) == ["other-f"]
    assert sorted(await loaded(worker)) == ["app-f"]
    assert [app.name for app in await worker.store.load_apps(DEV)] == ["app"]
    assert worker.registry.revision == (await worker.store.load_functions(DEV))[0]


# -- schedules ------------------------------------------------------------------------------------------------------


def cron_function() -> Function:
    return function_of("app-cron", triggers=[Trigger(cron="0 * * * *")])


async def with_schedule(worker: Worker, *crons: tuple[str, int | None]) -> Function:
    function = cron_function()
    await worker.sync("app", function, crons=crons or (("0 * * * *", T0 + HOUR),))
    return function


def tick_of(
    worker: Worker, function: Function, *, seen_at: int = T0 + HOUR, number: int = 1, cron: str = "0 * * * *"
) -> Tick:
    event = event_of(number, "inngest/scheduled.timer")
    intake = start(event, worker.registry, now=worker.now, new_id=worker.new_id, only=function)
    return Tick(function.id, cron, seen_at, seen_at + HOUR, worker.leased_intake(intake))


def ticking(worker: Worker, *ticks: Tick, revision: int | None = None) -> TickRequest:
    return TickRequest(DEV, worker.registry.revision if revision is None else revision, ticks, worker.now)


async def test_due_schedules_are_found_the_oldest_first(worker: Worker) -> None:
    function = await with_schedule(
        worker, ("0 * * * *", T0 + 2 * HOUR), ("1 * * * *", T0 + HOUR), ("2 * * * *", T0 + 9 * HOUR), ("never", None)
    )

    due = await worker.store.due_schedules(now=T0 + 3 * HOUR, limit=10)

    assert due == [
        DueSchedule(function.id, "1 * * * *", T0 + HOUR),
        DueSchedule(function.id, "0 * * * *", T0 + 2 * HOUR),
    ]
    assert await worker.store.due_schedules(now=T0 + 3 * HOUR, limit=1) == due[:1]
    assert await worker.store.due_schedules(now=T0, limit=10) == []
    assert await worker.store.next_schedule_due() == T0 + HOUR
    assert Schedule(function.id, "never", None) in await worker.store.load_schedules(DEV)


async def test_without_schedules_none_is_due(worker: Worker) -> None:
    assert await worker.store.next_schedule_due() is None
    assert await worker.store.load_schedules(DEV) == []


async def test_a_tick_starts_its_run_and_moves_the_schedule_on(worker: Worker) -> None:
    function = await with_schedule(worker)
    tick = tick_of(worker, function)

    found = await worker.store.submit(ticking(worker, tick))

    assert found.ticked == {(function.id, "0 * * * *")}
    assert tick.intake is not None
    assert found.leased == {(tick.intake.runs[0].id, tick.intake.jobs[0].id)}
    assert await worker.store.next_schedule_due() == T0 + 2 * HOUR


@pytest.mark.parametrize("is_together", [False, True])
async def test_a_schedule_ticks_once_however_many_see_it_due(worker: Worker, is_together: bool) -> None:
    function = await with_schedule(worker)
    requests = [ticking(worker, tick_of(worker, function, number=number)) for number in (1, 2)]

    if is_together:
        results = await asyncio.gather(*(worker.store.submit(request) for request in requests))
    else:
        results = [await worker.store.submit(request) for request in requests]

    assert [len(found.ticked) for found in results] == [1, 0]
    assert [len(found.leased) for found in results] == [1, 0]
    assert len(await worker.store.list_runs(RunFilter(DEV))) == 1


async def test_a_tick_that_was_planned_with_older_functions_is_stale(worker: Worker) -> None:
    function = await with_schedule(worker)
    request = ticking(worker, tick_of(worker, function))
    await worker.sync("other", function_of("other-g", app="other"))

    found = await worker.store.submit(request)

    assert found.verdict is Verdict.STALE
    assert await worker.store.next_schedule_due() == T0 + HOUR
    assert await worker.store.list_runs(RunFilter(DEV)) == []


async def test_a_tick_without_a_function_only_moves_on(worker: Worker) -> None:
    function = await with_schedule(worker)

    found = await worker.store.submit(ticking(worker, Tick(function.id, "0 * * * *", T0 + HOUR, None, None)))

    assert found.ticked == {(function.id, "0 * * * *")}
    assert await worker.store.next_schedule_due() is None


async def test_a_schedule_that_stays_keeps_its_time_over_a_sync(worker: Worker) -> None:
    """A sync a minute after a restart must not lose the tick that is due."""
    await with_schedule(worker)

    await with_schedule(worker, ("0 * * * *", T0 + 5 * HOUR), ("1 * * * *", T0 + 3 * HOUR))

    schedules = {cron: next_at for _, cron, next_at in await worker.store.load_schedules(DEV)}
    assert schedules == {"0 * * * *": T0 + HOUR, "1 * * * *": T0 + 3 * HOUR}


async def test_a_schedule_that_is_gone_ticks_no_more(worker: Worker) -> None:
    function = await with_schedule(worker)

    await worker.sync("app", function, crons=[("1 * * * *", T0 + 3 * HOUR)])
    assert await worker.store.next_schedule_due() == T0 + 3 * HOUR

    await worker.sync("app", archived=[function.id])
    assert await worker.store.next_schedule_due() is None


async def test_a_schedule_of_a_function_that_comes_back_ticks_again(worker: Worker) -> None:
    function = await with_schedule(worker)
    await worker.sync("app", archived=[function.id])

    await with_schedule(worker, ("0 * * * *", T0 + 5 * HOUR))

    assert await worker.store.next_schedule_due() == T0 + 5 * HOUR


async def test_a_schedule_that_was_stopped_begins_again_with_the_next_sync(worker: Worker) -> None:
    function = await with_schedule(worker)
    await worker.store.submit(ticking(worker, Tick(function.id, "0 * * * *", T0 + HOUR, None, None)))

    await with_schedule(worker, ("0 * * * *", T0 + 7 * HOUR))

    assert await worker.store.next_schedule_due() == T0 + 7 * HOUR


async def test_schedules_survive_a_restart(worker: Worker, database: Database) -> None:
    await with_schedule(worker)
    await database.crash(worker.store)

    store = await database.open("replica-2")

    assert await store.next_schedule_due() == T0 + HOUR


# -- settings -------------------------------------------------------------------------------------------------------


async def test_a_setting_is_kept_and_replaced(worker: Worker, database: Database) -> None:
    assert await worker.store.load_setting("offset") is None
    await worker.store.submit(SettingRequest("offset", "1"))
    await worker.store.submit(SettingRequest("offset", "2"))
    await database.crash(worker.store)

    store = await database.open("replica-2")

    assert await store.load_setting("offset") == "2"
