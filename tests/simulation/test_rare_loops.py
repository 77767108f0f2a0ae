"""The real engine in virtual time, where it could spin, or wait for ever: what is refused for now, and rare ends of calls."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from stepwell.engine.core.fetch import Fetched, FetchRequest
from stepwell.engine.core.model import Reply, RunStatus
from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.sync import Trigger
from stepwell.store.found import RunFilter
from stepwell.store.request import CommitRequest, Request, Result
from tests.simulation.test_engine import Bench, play
from tests.unit.engine.making import DEV, event_of, function_of, op, ops, result

__all__ = ["play"]


def steps_of(call: OutgoingCall) -> dict[str, Any]:
    return msgspec.json.decode(call.body)["steps"]


def test_a_wait_that_an_event_may_still_end_does_not_spin_until_it_has(play, tmp_path: Path) -> None:
    """Its time-out is refused as long as the event's sweep has not been there, and that may take a while."""

    def execute(sql: str) -> None:
        db = sqlite3.connect(tmp_path / "db")
        db.execute(sql)
        db.commit()
        db.close()

    async def scene(bench: Bench) -> None:
        async def answer(call: OutgoingCall) -> Reply:
            return result() if steps_of(call) else ops(op("WaitForEvent", "w", opts={"event": "b", "timeout": "10s"}))

        bench.answer = answer
        await bench.start(function_of())
        run_id = await bench.run_of(1)
        await asyncio.sleep(1)
        await bench.engine.ingest([event_of(2, "x", ts=bench.engine.clock.now())])
        execute("insert into sweep select id, environment, 'b', received_at, '', '', '' from event where name = 'x'")
        tries = 0
        submit = bench.store.submit

        def counting(request: Request) -> asyncio.Future[Result]:
            nonlocal tries
            tries += isinstance(request, CommitRequest)
            assert tries < 1_000, "it spins"
            return submit(request)

        bench.store.submit = counting
        await asyncio.sleep(20)
        assert await bench.status(run_id) is RunStatus.RUNNING

        execute("delete from sweep")
        await asyncio.sleep(5)

        assert await bench.status(run_id) is RunStatus.COMPLETED
        assert tries < 200

    play(scene)


def test_a_first_call_that_takes_longer_than_a_run_may_wait_for_it_is_no_late_start(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(call: OutgoingCall) -> Reply:
            await asyncio.sleep(30)
            return result()

        bench.answer = answer
        await bench.start(function_of(timeouts={"start": "10s"}))
        run_id = await bench.run_of(1)
        await asyncio.sleep(60)

        assert await bench.status(run_id) is RunStatus.COMPLETED

    play(scene)


def test_a_run_that_still_waits_for_its_first_call_is_cancelled_in_time(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(call: OutgoingCall) -> Reply:
            await asyncio.sleep(30)
            return result()

        bench.answer = answer
        await bench.start(function_of(timeouts={"start": "10s"}, concurrency=1))
        first, second = await bench.run_of(1), await bench.run_of(2)
        await asyncio.sleep(60)

        assert await bench.status(first) is RunStatus.COMPLETED
        assert await bench.status(second) is RunStatus.CANCELLED

    play(scene)


def test_a_key_that_lost_its_rule_while_a_call_used_it_lets_others_go_on(play) -> None:
    """Another function shares the key, and has still the rule."""

    async def scene(bench: Bench) -> None:
        async def answer(call: OutgoingCall) -> Reply:
            await asyncio.sleep(10)
            return result()

        shared = [{"limit": 1, "key": '"k"', "scope": "env"}]
        bench.answer = answer
        one = function_of("app-one", concurrency=shared)
        two = function_of("app-two", triggers=[Trigger(event="b")], concurrency=shared)
        await bench.start(one, two)
        await bench.run_of(1)
        await asyncio.sleep(1)
        await bench.engine.ingest([event_of(2, "b", ts=bench.engine.clock.now())])
        await asyncio.sleep(1)
        await bench.register(function_of("app-one", version=2), two)
        await bench.engine._refresh()
        await asyncio.sleep(60)

        runs = await bench.store.list_runs(RunFilter(DEV))
        assert [run.status for run in runs] == [RunStatus.COMPLETED] * 2

    play(scene)


def test_a_replica_that_may_be_dead_makes_no_requests_for_steps(play) -> None:
    """Others may have taken over the job by then, and make the same request."""

    async def scene(bench: Bench) -> None:
        made_at: list[float] = []
        is_alive = False

        class Fetcher:
            async def fetch(self, request: FetchRequest) -> Fetched:
                made_at.append(asyncio.get_running_loop().time())
                return Fetched(b'{"data":1}')

        async def answer(call: OutgoingCall) -> Reply:
            executor._may_call = lambda: is_alive
            return (
                result() if steps_of(call) else ops(op("Gateway", "g", opts={"url": "http://a.test", "method": "GET"}))
            )

        bench.answer = answer
        await bench.start(function_of())
        executor = bench.engine._executor
        executor._fetcher = Fetcher()
        run_id = await bench.run_of(1)
        await asyncio.sleep(5)
        assert (len(bench.calls), made_at) == (1, [])
        is_alive = True
        await asyncio.sleep(5)

        assert len(made_at) == 1
        assert await bench.status(run_id) is RunStatus.COMPLETED

    play(scene)
