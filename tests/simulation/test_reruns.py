"""The real engine in virtual time: runs that are started again keep what they were for."""

from __future__ import annotations

import asyncio

import msgspec

from stepwell.engine.core.model import Reply, RunStatus
from stepwell.engine.transport import OutgoingCall
from tests.simulation.test_engine import Bench, play
from tests.unit.engine.making import event_of, function_of, result

__all__ = ["play"]


def test_a_rerun_of_a_batch_is_for_all_of_its_events(play) -> None:
    async def scene(bench: Bench) -> None:
        seen: list[list[int]] = []

        async def answer(call: OutgoingCall) -> Reply:
            seen.append([event["data"]["n"] for event in msgspec.json.decode(call.body)["events"]])
            return result()

        bench.answer = answer
        await bench.start(function_of(batchEvents={"maxSize": 3, "timeout": "10s"}))
        now = bench.engine.clock.now()
        accepted = await bench.engine.ingest([event_of(number, data={"n": number}, ts=now) for number in (1, 2, 3)])
        await asyncio.sleep(5)
        [first] = set(accepted.result.gathered.values())

        again = await bench.engine.rerun(first)
        await asyncio.sleep(5)

        assert again is not None
        assert await bench.status(again.id) is RunStatus.COMPLETED
        assert seen == [[1, 2, 3], [1, 2, 3]]
        assert len((await bench.store.load_runs([again.id]))[again.id].events) == 3

    play(scene)


def test_a_rerun_of_a_singleton_says_that_it_was_skipped(play) -> None:
    async def scene(bench: Bench) -> None:
        async def answer(call: OutgoingCall) -> Reply:
            await asyncio.sleep(10)
            return result()

        bench.answer = answer
        await bench.start(function_of(singleton={"mode": "skip"}))
        first = await bench.run_of(1)
        await asyncio.sleep(1)

        beside = await bench.engine.rerun(first)
        await asyncio.sleep(20)
        after = await bench.engine.rerun(first)
        await asyncio.sleep(20)

        assert beside is not None
        assert (beside.status, beside.reason) == (RunStatus.SKIPPED, "singleton")
        assert (await bench.store.load_runs([beside.id]))[beside.id].run == beside
        assert after is not None
        assert await bench.status(after.id) is RunStatus.COMPLETED
        assert len(bench.calls) == 2

    play(scene)
