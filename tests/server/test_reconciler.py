"""The reconciler on both databases: each broken state is found and mended, and a healthy busy system has none."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import asyncpg
import msgspec
import pytest
from structlog.testing import capture_logs

from stepwell.engine import reconciler as module
from stepwell.errors import StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import DAY_MS, FAULT_AGE_MS, SIGNAL_KEPT_MS
from stepwell.protocol.ids import JobId, RunId
from stepwell.store.found import Fault
from stepwell.store.postgres import PostgresStore
from stepwell.store.request import RepairRequest, Verdict
from tests.server.world import WAIT_S, World, ops, ran, result, sleep, steps_done

NOBODY = "01KAT3Z6W00000000000000001"


async def rows(world: World, sql: str) -> list[tuple[Any, ...]]:
    """Run SQL behind the store's back."""
    store: Any = world.engine.store
    if isinstance(store, PostgresStore):
        connection: Any = await asyncpg.connect(world.database_url, server_settings={"search_path": "stepwell"})
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()
    db = sqlite3.connect(world.database_url)
    try:
        found = db.execute(sql).fetchall()
        db.commit()
        return found
    finally:
        db.close()


async def count(world: World, table: str) -> int:
    return (await rows(world, f"select count(*) from {table}"))[0][0]


async def check(world: World) -> Any:
    return await world.post("/api/doctor")


async def found(world: World) -> dict[str, tuple[int, int]]:
    """Check everything, and return what was found and mended of each fault."""
    diagnosis = await check(world)
    assert diagnosis["is_whole"]
    return {finding["fault"]: (finding["found"], finding["mended"]) for finding in diagnosis["findings"]}


async def asleep(world: World, slug: str = "f", data: Any = None) -> str:
    """Start a run that sleeps for an hour after its first step, and return its id."""
    world.apps.answers[slug] = lambda call: (
        ops(ran("first", 1))
        if not steps_done(call)
        else result("done")
        if len(steps_done(call)) > 1
        else ops(sleep("nap", "1h"))
    )
    event = await world.send(f"{slug}.go", data)
    await world.quiet()
    return event["runs"][0]["id"]


def old(world: World) -> int:
    return world.engine.clock.now() - FAULT_AGE_MS - 1


# -- runs -------------------------------------------------------------------------------------------------------------


async def test_a_run_that_nothing_brings_on_goes_on(either: World) -> None:
    await either.register("f")
    id = await asleep(either)
    await rows(either, "delete from job")
    either.apps.answers["f"] = lambda call: result(len(steps_done(call)))

    with capture_logs() as logs:
        assert await found(either) == {"stuck_run": (1, 1)}

    assert (await either.ended(id))["output"] == 1  # the first step is known
    assert [line["stuck_run"] for line in logs if line["event"] == "reconciler.found"] == [1]
    assert await found(either) == {}


async def test_a_run_that_has_not_begun_is_started(either: World) -> None:
    await either.register("f", f={"concurrency": 1})
    await either.post("/api/functions/f/pause")
    event = await either.send("f.go")
    await rows(either, "delete from job")
    await either.post("/api/functions/f/resume")

    assert await found(either) == {"stuck_run": (1, 1)}

    assert (await either.ended(event["runs"][0]["id"]))["status"] == "completed"


async def test_guards_bring_no_run_on(either: World) -> None:
    await either.register("f", f={"timeouts": {"finish": "1d"}})
    id = await asleep(either)
    await rows(either, "delete from job where kind = 'timer'")
    assert await count(either, "job") == 1

    assert await found(either) == {"stuck_run": (1, 1)}
    await either.quiet()

    assert (await either.get(f"/api/runs/{id}"))["status"] == "running"
    assert await rows(either, "select kind from job order by kind") == [("timeout",), ("timer",)]  # it sleeps again


async def test_a_run_that_went_on_meanwhile_is_left_alone(either: World) -> None:
    """What was found is looked at again in the transaction that mends it."""
    await either.register("f")
    id = await asleep(either)
    state = (await either.engine.store.load_runs([RunId(id)]))[RunId(id)]
    spare = msgspec.structs.replace(next(iter(state.jobs.values())), id=JobId("spare"))
    now = either.engine.clock.now()

    for version in (state.run.version, state.run.version - 1):
        done = await either.engine.store.submit(RepairRequest({}, [(spare, version)], now))
        assert (done.verdict, done.mended) == (Verdict.COMMITTED, {Fault.STUCK_RUN: 0})

    assert await count(either, "job") == 1


# -- what is left over ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ended", "missing"])
async def test_what_an_ended_or_missing_run_has_left_is_dropped(either: World, state: str) -> None:
    await either.register("f")
    id = (await either.run("f"))["id"] if state == "ended" else NOBODY
    at = old(either)
    await rows(either, f"update run set queued_at = {at}, ended_at = {at}")
    await rows(
        either,
        "insert into job (run_id, id, partition, kind, step_id, title, op, attempt, max_attempts, stack_current,"
        " is_joined, lost_count, due_at, created_at, generation)"
        f" values ('{id}', '9.0', 'timers', 'timer', 's', '', 'Sleep', 0, 1, 0, 0, 0, {at + DAY_MS}, {at}, 0)",
    )
    await rows(
        either,
        "insert into wait (run_id, job_id, environment, kind, name, path, value, created_at, expires_at)"
        f" values ('{id}', 'c', 'dev', 'cancel', 'b', '', '', {at}, {at + DAY_MS})",
    )
    await rows(either, f"insert into slot (key, run_id, job_id) values ('k', '{id}', ''), ('k', '{id}', '9.0')")

    assert await found(either) == {
        "job_of_ended_run": (1, 1),
        "wait_of_ended_run": (1, 1),
        "slot_of_ended_run": (2, 2),
    }

    assert [await count(either, table) for table in ("job", "wait", "slot")] == [0, 0, 0]


async def test_what_is_on_its_way_is_no_fault(either: World) -> None:
    """An event that cancels a run may come just when the run ends."""
    await either.register("f")
    id = (await either.run("f"))["id"]
    at = either.engine.clock.now()
    await rows(
        either,
        "insert into job (run_id, id, partition, kind, step_id, title, op, attempt, max_attempts, stack_current,"
        " is_joined, lost_count, due_at, created_at, generation)"
        f" values ('{id}', 'c', 'timers', 'cancel', '', 'event', '', 0, 1, 0, 0, 0, {at}, {at}, 0)",
    )

    assert await found(either) == {}


async def test_a_slot_that_no_call_uses_is_given_back(either: World) -> None:
    await either.register("f", f={"concurrency": 1})
    id = await asleep(either)
    await rows(either, f"insert into slot (key, run_id, job_id) values ('k', '{id}', '7.0'), ('r', '{id}', '')")

    assert await found(either) == {"slot_without_lease": (1, 1)}

    assert await rows(either, "select key from slot") == [("r",)]  # the run's own place


async def test_a_wait_without_its_job_is_dropped(either: World) -> None:
    await either.register("f")
    id = await asleep(either)
    at = old(either)
    await rows(
        either,
        "insert into wait (run_id, job_id, environment, kind, name, path, value, created_at, expires_at)"
        f" values ('{id}', '9.9', 'dev', 'event', 'b', '', '', {at}, {at + DAY_MS})",
    )

    assert await found(either) == {"wait_without_job": (1, 1)}


# -- gatherings -------------------------------------------------------------------------------------------------------


async def test_a_gathering_of_a_removed_function_has_its_outcome_when_it_is_due(either: World) -> None:
    await either.register("f", "g", f={"debounce": {"period": "1h"}})
    event = await either.send("f.go")
    await either.register("g")

    await either.post("/api/skip", {"duration": "2h"})

    [run] = (await either.get("/api/runs", function="f"))["items"]
    assert (run["status"], run["reason"], run["event_id"]) == ("skipped", "archived", event["id"])
    assert await count(either, "gathering") == 0
    assert await found(either) == {}


async def test_a_gathering_of_a_function_that_never_was_is_dropped(either: World) -> None:
    at = either.engine.clock.now() + DAY_MS
    await rows(
        either,
        "insert into gathering (run_id, environment, function_id, kind, key, version, first_at, due_at, event_count,"
        f" byte_count, is_open) values ('{NOBODY}', 'dev', 'nope', 'batch', 'k', 0, 1, {at}, 1, 1, 1)",
    )
    await rows(either, f"insert into gathered (run_id, event_id) values ('{NOBODY}', '{NOBODY}')")

    assert await found(either) == {"unknown_gathering": (1, 1)}

    assert [await count(either, table) for table in ("gathering", "gathered")] == [0, 0]


async def test_a_gathering_that_was_forgotten_is_fired(either: World) -> None:
    await either.register("f", f={"batchEvents": {"maxSize": 10, "timeout": "10m"}})
    await either.send("f.go")
    await rows(either, f"update gathering set due_at = {old(either)}")  # the scheduler knows of a later time

    assert await found(either) == {"overdue_gathering": (1, 0)}
    await either.quiet()

    assert [run["status"] for run in (await either.get("/api/runs", function="f"))["items"]] == ["completed"]
    assert await found(either) == {}


# -- what expires -----------------------------------------------------------------------------------------------------


async def test_what_has_expired_is_deleted_and_is_no_fault(either: World) -> None:
    await either.register("f")
    id = await asleep(either)
    now, at = either.engine.clock.now(), old(either)
    await rows(
        either,
        "insert into wait (run_id, job_id, environment, kind, name, path, value, created_at, expires_at)"
        f" values ('{id}', 'c', 'dev', 'cancel', 'b', '', '', {at - 1}, {at}),"
        f" ('{id}', 'd', 'dev', 'cancel', 'b', '', '', {at - 1}, {now + DAY_MS})",
    )
    state = "x'5b5d'" if not isinstance(either.engine.store, PostgresStore) else "'[]'::bytea"
    await rows(
        either,
        f"insert into flow (key, state, expires_at) values ('a', {state}, {now - 1}), ('b', {state}, {now + DAY_MS})",
    )
    sent_at = now - SIGNAL_KEPT_MS - 1
    await rows(
        either,
        "insert into signal (environment, name, id, data, sent_at)"
        f" values ('dev', 's', '1', {state}, {sent_at}), ('dev', 's', '2', {state}, {now})",
    )

    diagnosis = await check(either)

    assert {finding["fault"] for finding in diagnosis["findings"]} == {
        "expired_wait",
        "expired_state",
        "expired_signal",
    }
    assert diagnosis["is_healthy"]
    assert [await count(either, table) for table in ("wait", "flow", "signal")] == [1, 1, 1]
    assert await found(either) == {}


async def test_a_wait_that_a_sweep_has_still_to_look_at_is_not_over(either: World) -> None:
    await either.register("f")
    id = await asleep(either)
    at = old(either)
    await rows(
        either,
        "insert into wait (run_id, job_id, environment, kind, name, path, value, created_at, expires_at)"
        f" values ('{id}', 'c', 'dev', 'cancel', 'b', '', '', {at - 1}, {at})",
    )
    await rows(
        either,
        "insert into sweep (event_id, environment, name, received_at, after_path, after_run_id, after_job_id)"
        f" values ('{NOBODY}', 'dev', 'b', {at - 1}, '', '', '')",
    )

    assert await found(either) == {}

    await rows(either, "delete from sweep")
    assert await found(either) == {"expired_wait": (1, 1)}


# -- rounds -----------------------------------------------------------------------------------------------------------


async def test_a_busy_system_has_no_faults(either: World) -> None:
    """Runs that begin, sleep, retry, wait for room and end, while everything is checked again and again."""
    await either.register(
        "f",
        "g",
        "h",
        f={"concurrency": [{"limit": 2, "key": "event.data.n"}], "timeouts": {"finish": "1d"}},
        g={"runConcurrency": 2, "cancel": [{"event": "h.go"}]},
        h={"batchEvents": {"maxSize": 3, "timeout": "1s"}, "retries": 2},
    )
    for slug in ("f", "g", "h"):
        either.apps.answers[slug] = lambda call: result(1) if steps_done(call) else ops(ran("s"))
    is_over = False
    faults: list[Any] = []
    checks = 0

    async def checking() -> None:
        nonlocal checks
        while not is_over:
            report = await either.engine.reconciler.check_once(is_whole=True)
            faults.extend(report.faults.items())
            checks += 1

    task = asyncio.create_task(checking())
    for number in range(60):
        await asyncio.gather(*(either.send(f"{slug}.go", {"n": number % 3}) for slug in ("f", "g", "h")))
    await either.quiet()
    is_over = True
    await task

    assert checks > 3
    assert faults == []


async def test_a_long_walk_is_gone_on_with_in_the_next_round(either: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await either.register("f")
    for _ in range(5):
        await asleep(either)
    await rows(either, "delete from job")
    monkeypatch.setattr(module, "CHECK_ROWS_MAX", 2)
    monkeypatch.setattr(module, "CHECKS_MAX", 1)

    reports = [await either.engine.reconciler.check_once() for _ in range(3)]

    assert [report.found.get(Fault.STUCK_RUN) for report in reports] == [2, 2, 1]
    assert [report.is_whole for report in reports] == [False, False, False]
    assert await found(either) == {}


async def test_the_latest_check_is_shown(either: World) -> None:
    before = await either.get("/api/doctor")
    made = await check(either)

    assert before == {"latest": None}
    assert await either.get("/api/doctor") == {"latest": made}
    assert set(made["checked"]) == {"runs", "jobs", "waits", "slots", "flow", "signals", "gatherings"}


async def test_a_run_whose_function_is_gone_is_shown_and_hurts_no_other(either: World) -> None:
    await either.register("f")
    lost, other = await asleep(either), await asleep(either)
    await rows(either, "delete from job")
    await rows(either, f"update run set function_id = 'nope' where id = '{lost}'")
    either.apps.answers["f"] = lambda _call: result("done")

    assert await found(either) == {"stuck_run": (2, 1)}
    assert (await either.ended(other))["status"] == "completed"


async def test_it_checks_at_start_and_goes_on_when_the_database_was_away(
    either: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles: list[Exception] = [StoreUnavailable("away"), StoreError("refused"), ZeroDivisionError()]
    check, is_checked = either.engine.store.check, asyncio.Event()

    async def failing(*args: Any, **named: Any) -> Any:
        if troubles:
            raise troubles.pop(0)
        is_checked.set()
        return await check(*args, **named)

    monkeypatch.setattr(module, "_REST_S", 0.0)
    monkeypatch.setattr(either.engine.store, "check", failing)
    with capture_logs() as logs:
        running = asyncio.create_task(either.engine.reconciler.run())
        async with asyncio.timeout(WAIT_S):
            await is_checked.wait()
        running.cancel()
        await asyncio.wait([running])

    assert [line["event"] for line in logs] == ["reconciler.put_off", "store.refused", "reconciler.broke"]


async def test_it_ends_with_the_store(either: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def closed(*_: Any, **__: Any) -> Any:
        raise StoreClosed("closed")

    monkeypatch.setattr(either.engine.store, "check", closed)

    async with asyncio.timeout(WAIT_S):
        await either.engine.reconciler.run()
