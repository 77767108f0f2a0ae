"""The real engine in virtual time: what its loops do when slots are taken, clocks are set, and calls are cancelled."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import Function, Reply, RunStatus
from stepwell.engine.engine import Engine
from stepwell.engine.ids import IdSource
from stepwell.engine.transport import OutgoingCall
from stepwell.errors import StoreError, StoreUnavailable
from stepwell.protocol.ids import AppId, ReplicaId, RunId
from stepwell.protocol.sync import Trigger
from stepwell.store.found import RunFilter
from stepwell.store.news import News
from stepwell.store.sqlite import SQLiteStore
from tests.simulation.loop import SimulatedLoop
from tests.store.database import Worker
from tests.unit.engine.making import DEV, T0, error, event_of, function_of, op, ops, result, step_id

Answer = Callable[[OutgoingCall], Awaitable[Reply]]


class Bench:
    """An engine, an app that a test makes up, and the clock on the wall."""

    def __init__(self, path: Path, *, calls_per_app_max: int = 100) -> None:
        self.skew_ms = 0
        self.calls: list[OutgoingCall] = []
        self.answer: Answer = self._complete
        self.clock_reads = 0
        clock = Clock(self.wall_ms, elapsed=asyncio.get_running_loop().time)
        self.store = SQLiteStore(path, ReplicaId("replica-1"), is_threaded=False, is_durable=False)
        self.engine = Engine(
            self.store,
            self,
            environment=DEV,
            clock=clock,
            ids=IdSource(clock.now, Random(1)),
            calls_per_app_max=calls_per_app_max,
        )

    def wall_ms(self) -> int:
        self.clock_reads += 1
        return T0 + round(asyncio.get_running_loop().time() * 1000) + self.skew_ms

    async def call(self, call: OutgoingCall) -> Reply:
        self.calls.append(call)
        return await self.answer(call)

    async def _complete(self, _call: OutgoingCall) -> Reply:
        return result()

    async def start(self, *functions: Function) -> None:
        await self.engine.start()
        await self.register(*functions)

    async def register(self, *functions: Function) -> None:
        worker = Worker(self.store)
        worker.now = self.engine.clock.now()
        await worker.sync("app", *functions)
        await self.engine.registries.refresh(DEV)

    async def run_of(self, number: int) -> RunId:
        accepted = await self.engine.ingest([event_of(number, ts=self.engine.clock.now())])
        return accepted.intakes[0].runs[0].id

    async def status(self, run_id: RunId) -> RunStatus:
        return (await self.store.load_runs([run_id]))[run_id].run.status


Play = Callable[..., None]


@pytest.fixture(params=range(3))
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Return a function that plays a scene in virtual time, in different orders of what is ready at once."""

    def play(scene: Callable[[Bench], Coroutine[Any, Any, None]], **settings: int) -> None:
        loop = SimulatedLoop(Random(request.param))
        try:
            loop.run_until_complete(staged(scene, settings))
        finally:
            loop.close()

    async def staged(scene: Callable[[Bench], Coroutine[Any, Any, None]], settings: dict[str, int]) -> None:
        bench = Bench(tmp_path / "db", **settings)
        await scene(bench)
        await bench.engine.stop(grace_s=0)

    return play


def test_a_job_that_becomes_due_is_called_though_no_slot_was_free_before(play) -> None:
    """The scheduler slept for an hour: it left out a partition without slots, and nobody woke it when it was due."""

    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            await asyncio.sleep(2)
            return result()

        bench.answer = answer
        await bench.start(function_of())
        later = event_of(1, ts=T0 + 5_000)
        await bench.engine.ingest([later])
        await bench.run_of(2)  # takes the only slot until second 2

        await asyncio.sleep(8)

        assert len(bench.calls) == 2
        assert {run.status for run in await bench.store.list_runs(RunFilter(DEV))} == {RunStatus.COMPLETED}

    play(scene, calls_per_app_max=1)


def test_a_clock_that_was_set_back_makes_nobody_spin(play) -> None:
    async def scene(bench: Bench) -> None:
        await bench.start(function_of())
        bench.engine.clock.now()
        await bench.engine.ingest([event_of(1, ts=bench.engine.clock.now() + 2)])
        bench.skew_ms -= 3_600_000
        before = bench.clock_reads

        await asyncio.sleep(3_601)

        assert len(bench.calls) == 1
        assert bench.clock_reads - before < 1_000

    play(scene)


def test_a_clock_that_was_set_ahead_is_noticed_within_a_minute(play) -> None:
    """A machine that was asleep looks like this, too: its timers stood still."""

    async def scene(bench: Bench) -> None:
        await bench.start(function_of())
        await bench.engine.ingest([event_of(1, ts=T0 + 7_200_000)])
        bench.skew_ms += 7_200_000

        await asyncio.sleep(61)

        assert len(bench.calls) == 1

    play(scene)


def test_an_idle_engine_hardly_wakes(play) -> None:
    async def scene(bench: Bench) -> None:
        await bench.start(function_of())
        await bench.engine.ingest([event_of(1, ts=T0 + 86_400_000)])
        before = bench.clock_reads

        await asyncio.sleep(3_600)

        assert bench.clock_reads - before < 600

    play(scene)


@pytest.mark.parametrize("calls_per_app_max", [1, 100])
def test_a_run_that_is_skipped_leaves_no_trace_in_memory(play, calls_per_app_max: int) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            await asyncio.sleep(5)
            return result()

        bench.answer = answer
        await bench.start(function_of())
        await bench.engine.ingest([event_of(1, id="same")])
        accepted = await bench.engine.ingest([event_of(2, id="same")])
        [skipped] = accepted.result.skipped

        assert bench.engine._executor._warm.get(skipped) is None
        assert await bench.engine.cancel(skipped) is False
        await asyncio.sleep(10)
        assert len(bench.calls) == 1
        assert bench.engine._slots.used == 0

    play(scene, calls_per_app_max=calls_per_app_max)


def test_a_cancelled_run_is_not_called_any_more(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            await asyncio.sleep(5)
            return ops(op("StepPlanned", "a"), op("StepPlanned", "b"))

        bench.answer = answer
        await bench.start(function_of())
        run_id = await bench.run_of(1)
        await asyncio.sleep(1)

        assert await bench.engine.cancel(run_id) is True
        assert await bench.engine.cancel(run_id) is False
        assert await bench.engine.cancel(RunId("unknown")) is None
        await asyncio.sleep(60)

        assert len(bench.calls) == 1
        assert await bench.status(run_id) is RunStatus.CANCELLED
        assert bench.engine._slots.used == 0

    play(scene)


def test_a_call_that_breaks_is_an_attempt_that_failed(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            raise RuntimeError("a bug in the transport")

        bench.answer = answer
        await bench.start(function_of(retries=1))
        run_id = await bench.run_of(1)

        await asyncio.sleep(120)

        assert len(bench.calls) == 2
        assert await bench.status(run_id) is RunStatus.FAILED
        assert bench.engine._slots.used == 0

    play(scene)


def test_a_slow_app_does_not_delay_another(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(call: OutgoingCall) -> Reply:
            if "slow" in call.url:
                await asyncio.sleep(600)
            return result()

        bench.answer = answer
        await bench.start()
        worker = Worker(bench.store)
        await worker.sync("slow", function_of("slow-f", app="slow", triggers=[Trigger(event="slow")]))
        await worker.sync("quick", function_of("quick-f", app="quick", triggers=[Trigger(event="quick")]))
        await bench.engine.registries.refresh(DEV)
        for number in range(10):
            await bench.engine.ingest([event_of(number, "slow"), event_of(100 + number, "quick")])

        await asyncio.sleep(1)

        statuses = [run.status for run in await bench.store.list_runs(RunFilter(DEV, limit=100))]
        assert statuses.count(RunStatus.COMPLETED) == 10
        assert (statuses.count(RunStatus.RUNNING), statuses.count(RunStatus.QUEUED)) == (2, 8)
        await asyncio.sleep(6_000)
        assert bench.engine._slots.used == 0

    play(scene, calls_per_app_max=2)


def test_what_was_refused_by_the_disk_is_tried_until_it_is_taken(play) -> None:
    """What the app did isn't thrown away because of a full disk."""

    async def scene(bench: Bench) -> None:
        await bench.start(function_of())
        write = bench.store._write
        is_full = True

        def refuse(requests: Any) -> Any:
            if is_full:
                raise StoreUnavailable("the disk is full")
            return write(requests)

        run_id = await bench.run_of(1)
        bench.store._commits._write = refuse  # pyright: ignore[reportAttributeAccessIssue] # the fault
        await asyncio.sleep(60)
        with pytest.raises(StoreError):
            await bench.run_of(2)
        assert await bench.status(run_id) is RunStatus.QUEUED
        is_full = False
        await asyncio.sleep(60)

        assert len(bench.calls) == 1
        assert await bench.status(run_id) is RunStatus.COMPLETED
        assert bench.engine._slots.used == 0

    play(scene)


def test_time_travel_goes_from_due_time_to_due_time(play) -> None:
    """A run that sleeps one day and then two ends within three; an hourly schedule ticks 72 times."""

    async def scene(bench: Bench) -> None:
        async def answer(call: OutgoingCall) -> Reply:
            if "cron" in call.url:
                return result()
            steps = len(msgspec.json.decode(call.body)["steps"])
            return [ops(op("Sleep", "one", value="1d")), ops(op("Sleep", "two", value="2d")), result()][steps]

        bench.answer = answer
        await bench.start()
        worker = Worker(bench.store)
        cron = function_of("app-cron", triggers=[Trigger(cron="0 * * * *")])
        await worker.sync("app", cron, function_of(), crons=[("0 * * * *", T0 + 3_600_000)])
        await bench.engine.registries.refresh(DEV)
        await bench.engine._scheduler.reload_schedules()
        run_id = await bench.run_of(1)

        now = await bench.engine.skip(3 * 86_400_000)

        assert now == bench.engine.clock.now() >= T0 + 3 * 86_400_000
        assert await bench.status(run_id) is RunStatus.COMPLETED
        assert sum("cron" in call.url for call in bench.calls) == 72
        assert asyncio.get_running_loop().time() < 60

    play(scene)


def test_lost_attempts_in_a_row_fail_the_run_in_the_end(tmp_path: Path) -> None:
    """Code that kills the server each time must not do so for ever; its retries aren't used up meanwhile."""

    async def scene() -> None:
        calls: list[int] = []
        run_id = None
        loop = asyncio.get_running_loop()
        for number in range(12):
            store = SQLiteStore(tmp_path / "db", ReplicaId(f"replica-{number}"), is_threaded=False, is_durable=False)

            class App:
                async def call(self, call: OutgoingCall) -> Reply:
                    calls.append(msgspec.json.decode(call.body)["ctx"]["attempt"])
                    return await asyncio.Future[Reply]()

            clock = Clock(lambda: T0 + round(loop.time() * 1000), elapsed=loop.time)
            engine = Engine(store, App(), environment=DEV, clock=clock, ids=IdSource(clock.now, Random(number)))
            await engine.start()
            if run_id is None:
                await Worker(store).sync("app", function_of(retries=0))
                await engine.registries.refresh(DEV)
                accepted = await engine.ingest([event_of(1)])
                run_id = accepted.intakes[0].runs[0].id
            await asyncio.sleep(1)
            await engine.stop(grace_s=0)  # the call under way is broken off, as by a crash

        store = SQLiteStore(tmp_path / "db", ReplicaId("replica-last"), is_threaded=False)
        await store.start(now=T0)
        assert run_id is not None
        detail = await store.load_run(run_id)
        await store.stop()
        assert detail is not None
        assert calls == [0] * 10
        assert (detail.run.status, detail.run.reason) == (RunStatus.FAILED, "attempts_lost")

    loop = SimulatedLoop(Random(1))
    loop.run_until_complete(scene())
    loop.close()


def test_a_schedule_that_is_due_while_the_server_stops_makes_nobody_spin(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            await asyncio.sleep(20)
            return result()

        bench.answer = answer
        await bench.start(function_of())
        await Worker(bench.store).sync("app", function_of(), crons=[("* * * * *", T0 + 2_000)])
        await bench.engine._scheduler.reload_schedules()
        await bench.run_of(1)
        await asyncio.sleep(1)
        before = bench.clock_reads

        await bench.engine.stop(grace_s=60)

        assert bench.clock_reads - before < 100
        assert len(bench.calls) == 1

    play(scene)


def test_a_stop_lets_calls_under_way_finish_and_loses_none_of_what_waits(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            await asyncio.sleep(3)
            return error()

        bench.answer = answer
        await bench.start(function_of())
        for number in range(1, 4):
            await bench.run_of(number)
        await asyncio.sleep(1)

        await bench.engine.stop(grace_s=10)

        assert len(bench.calls) == 2
        again = SQLiteStore(bench.store._path, ReplicaId("replica-2"), is_threaded=False)
        await again.start(now=T0)
        runs = await again.list_runs(RunFilter(DEV))
        states = (await again.load_runs([run.id for run in runs])).values()
        jobs = [job for state in states for job in state.jobs.values()]
        assert sorted((job.attempt, job.lost_count) for job in jobs) == [(0, 0), (1, 0), (1, 0)]
        await again.stop()

    play(scene, calls_per_app_max=2)


def test_every_call_carries_all_that_is_recorded_even_when_the_run_was_forgotten_meanwhile(play) -> None:
    """What is warm is never needed to be right: a job goes on with the state that it was made from."""

    async def scene(bench: Bench) -> None:
        async def answer(call: OutgoingCall) -> Reply:
            memo = msgspec.json.decode(call.body)["steps"]
            if call.step_id == step_id("a"):
                await asyncio.sleep(2)
                return ops(op("StepRun", "a", data=1), version=1)
            if call.step_id != "step":
                await asyncio.sleep(5)
                return ops(op("StepRun", "x", data=1, id=call.step_id), version=1)
            if step_id("a") in memo:
                return ops(*(op("StepPlanned", name) for name in ("x", "y", "z")), version=1)
            return ops(op("StepPlanned", "a"), op("Sleep", "nap", value="1s"), version=1)

        bench.answer = answer
        await bench.start(function_of())
        run_id = await bench.run_of(1)
        await asyncio.sleep(0.5)
        bench.engine._executor._warm.drop(run_id)
        await asyncio.sleep(10)

        memos = {call.step_id: set(msgspec.json.decode(call.body)["steps"]) for call in bench.calls}
        for name in ("x", "y", "z"):
            assert {step_id("a"), step_id("nap")} <= memos[step_id(name)]

    play(scene)


def test_a_stale_commit_is_made_again_though_the_database_cannot_be_read_for_a_while(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            await asyncio.sleep(5)
            return result()

        bench.answer = answer
        await bench.start(function_of())
        run_id = await bench.run_of(1)
        await asyncio.sleep(1)
        await Worker(bench.store).sync("other", function_of("other-g", app="other"))  # the commit will be stale
        read = bench.store._read_now
        failures = iter([True] * 3)

        def fail_at_first(reading: Any) -> Any:
            if next(failures, False):
                raise sqlite3.OperationalError("disk I/O error")
            return read(reading)

        bench.store._read_now = fail_at_first  # pyright: ignore[reportAttributeAccessIssue] # the fault
        await asyncio.sleep(60)

        assert await bench.status(run_id) is RunStatus.COMPLETED
        assert bench.engine._slots.used == 0

    play(scene)


def test_a_schedule_that_cannot_be_read_stops_alone(play) -> None:
    """Its time zone is gone with an update of the machine, say: other schedules and jobs go on."""

    async def scene(bench: Bench) -> None:
        await bench.start(function_of())
        worker = Worker(bench.store)
        odd, good = (function_of(f"app-{name}", triggers=[]) for name in ("odd", "good"))
        await worker.sync("app", odd, crons=[("TZ=Mars/Base * * * * *", T0 + 1_000)])
        await worker.sync("app", good, crons=[("* * * * *", T0 + 1_000)])
        await bench.engine.registries.refresh(DEV)
        await bench.engine._scheduler.reload_schedules()
        await bench.engine.ingest([event_of(1, ts=T0 + 30_000)])

        await asyncio.sleep(65)

        assert sorted(call.url.partition("fnId=")[2].partition("&")[0] for call in bench.calls) == [
            "app-f",
            "app-good",
            "app-good",
        ]
        schedules = {schedule.cron: schedule.next_at for schedule in await bench.store.load_schedules(DEV)}
        assert schedules["TZ=Mars/Base * * * * *"] is None

    play(scene)


def test_a_bug_in_the_scheduler_is_no_end_of_it(play) -> None:
    async def scene(bench: Bench) -> None:
        await bench.start(function_of())
        claim = bench.engine._scheduler._claim
        bugs = iter([True])

        async def claim_with_a_bug(executor: Any) -> None:
            if next(bugs, False):
                raise RuntimeError("a bug")
            await claim(executor)

        bench.engine._scheduler._claim = claim_with_a_bug
        await bench.engine.ingest([event_of(1, ts=bench.engine.clock.now() + 1_000)])

        await asyncio.sleep(10)

        assert len(bench.calls) == 1

    play(scene)


def test_jobs_of_a_function_that_is_not_known_here_yet_wait_for_it_and_use_the_slots_of_its_app(play) -> None:
    """Others tell of them before this replica has read the functions. They are no lane of their own."""

    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            await asyncio.sleep(2)
            return result()

        bench.answer = answer
        await bench.start()
        worker = Worker(bench.store)
        await worker.sync("app", function_of())
        for number in range(1, 4):
            await worker.ingest(event_of(number))

        bench.engine._heard(News({function_of().id: T0}))

        await asyncio.sleep(1)
        assert len(bench.calls) == 1
        await asyncio.sleep(6)
        assert len(bench.calls) == 3
        assert bench.engine._slots.used == 0

    play(scene, calls_per_app_max=1)


def test_a_run_is_cancelled_by_the_next_event_of_its_kind_and_not_by_its_own(play) -> None:
    """Whether the events come one by one or together: the newest goes on."""

    async def scene(bench: Bench) -> None:
        async def answer(call: OutgoingCall) -> Reply:
            return result() if msgspec.json.decode(call.body)["steps"] else ops(op("Sleep", "nap", value="10s"))

        bench.answer = answer
        await bench.start(function_of(cancel=[{"event": "a", "if": "event.data.k == async.data.k"}]))
        now = bench.engine.clock.now()

        await bench.engine.ingest([event_of(1, data={"k": 1}, ts=now)])
        await bench.engine.ingest([event_of(2, data={"k": 2}, ts=now)])
        await bench.engine.ingest([event_of(3, data={"k": 1}, ts=now)])
        accepted = await bench.engine.ingest([event_of(number, data={"k": 1}, ts=now) for number in (4, 5, 6)])
        await asyncio.sleep(20)

        newest = accepted.intakes[-1].runs[0].id
        ended = {run.id: run.status for run in await bench.store.list_runs(RunFilter(DEV))}
        assert ended.pop(newest) is RunStatus.COMPLETED
        assert Counter(ended.values()) == {RunStatus.CANCELLED: 4, RunStatus.COMPLETED: 1}

    play(scene)


def test_a_call_that_waits_for_a_beat_is_not_begun_in_a_drain(play) -> None:
    """A call that begins late would be broken off by the end of the grace, and made again elsewhere."""

    async def scene(bench: Bench) -> None:
        await bench.start(function_of())
        bench.store.is_shared = True  # whoever shares a database must beat, or call nobody
        assert bench.engine.unready() == "its last beats did not reach the database" or await _silent(bench)
        run_id = await bench.run_of(1)
        await asyncio.sleep(1)

        bench.engine.begin_drain()
        await asyncio.sleep(1)
        [job] = (await bench.store.load_runs([run_id]))[run_id].jobs.values()
        assert (job.owner, job.lost_count) == (None, 0)
        bench.store.is_shared = False  # a beat has come through
        await asyncio.sleep(1)

        assert bench.calls == []

    play(scene)


async def _silent(bench: Bench) -> bool:
    """Let so much time go by without a beat that this replica may be dead for the others."""
    await asyncio.sleep(60)
    return bench.engine.unready() is not None


def test_a_function_that_moves_to_another_app_during_a_call_gives_its_slot_back(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            await asyncio.sleep(3)
            return result()

        bench.answer = answer
        await bench.start(function_of())
        run_id = await bench.run_of(1)
        await asyncio.sleep(1)

        worker = Worker(bench.store)
        worker.now = bench.engine.clock.now()
        await worker.sync("other", msgspec.structs.replace(function_of(), app_id=AppId("other")))
        await bench.engine.registries.refresh(DEV)
        await asyncio.sleep(5)

        assert await bench.status(run_id) is RunStatus.COMPLETED
        assert bench.engine._slots.used == 0

    play(scene)


def test_a_sleep_that_cannot_be_ended_fails_its_run_in_the_end(play) -> None:
    """A bug of ours must not go round for ever."""

    async def scene(bench: Bench) -> None:
        async def answer(_call: OutgoingCall) -> Reply:
            return ops(op("Sleep", "s", opts={"duration": "1m"}))

        bench.answer = answer
        await bench.start(function_of())
        run_id = await bench.run_of(1)
        await asyncio.sleep(1)
        with sqlite3.connect(bench.store._path) as db:
            db.execute("update job set op = 'nonsense'")
        bench.engine._executor._warm.drop(run_id)
        with capture_logs() as logged:
            await asyncio.sleep(120)

        assert await bench.status(run_id) is RunStatus.FAILED
        assert {entry["event"] for entry in logged} == {"executor.job_broke"}

    play(scene)
