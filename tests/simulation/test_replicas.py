"""Scenes with several replicas: what one does when another one dies, stops, comes back, or can't reach the database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from stepwell.store.request import ClaimRequest, IngestRequest
from tests.simulation.app import Program, Sleep, Step
from tests.simulation.database import SharedStore
from tests.simulation.faults import Faults
from tests.simulation.promises import LATENCY_S
from tests.simulation.replica import TAKE_OVER_S, Replica
from tests.simulation.world import World

Scene: TypeAlias = Callable[["Stage"], Coroutine[Any, Any, None]]


class Stage(World):
    """A world without chance faults, in which a scene is played after all replicas serve and know the functions."""

    news_delays_s = (0.0, 0.01)

    def __init__(self, seed: int, folder: Path, scene: Scene, steps: tuple[Step | Sleep, ...], replicas: int) -> None:
        program = Program("one-f", steps, 1, 2, ("a",))
        super().__init__(seed, folder, faults=Faults(), replicas=replicas, programs=[program])
        self.calls_per_app_max = 1_000  # more than one claim asks for
        self.writer_count = 3
        self._scene = scene

    async def _play(self) -> None:
        self.keep_all()
        await self.ask(self.sync_all)
        await self.until(lambda: len(self.serving) == self.replica_count)
        await asyncio.sleep(TAKE_OVER_S + 1)
        await self._scene(self)

    async def until(self, holds: Callable[[], object], *, within_s: float = 120.0) -> None:
        deadline = self.loop.time() + within_s
        while not holds():
            if self.loop.time() > deadline:
                self.fail(f"it took more than {within_s} s")
                await asyncio.Event().wait()
            await asyncio.sleep(0.02)

    @property
    def bodies(self) -> int:
        """How many times a step's body was begun."""
        return len(self.app.ledger.executions)

    @property
    def busy(self) -> Replica:
        """The replica that works."""
        [replica] = [replica for replica in self.serving if replica.engine._executor.busy]
        return replica

    @property
    def is_done(self) -> bool:
        return not self.query("select 1 from run where status in ('queued', 'running')")


@pytest.fixture(params=range(3))
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Stage]:
    """Return a function that plays a scene, in different orders of what is ready at once, and checks the promises."""

    def play(scene: Scene, *steps: Step | Sleep, replicas: int = 2, is_sampling: bool = False) -> Stage:
        async def checked(stage: Stage) -> None:
            await scene(stage)
            await stage.until(lambda: stage.is_done)
            await stage.all_serve()
            await asyncio.sleep(5)
            stage.promises.check_rest()

        stage = Stage(request.param, tmp_path, checked, steps, replicas)
        stage.is_sampling = is_sampling
        stage.play()
        return stage

    return play


def outcomes(stage: Stage) -> Counter[str]:
    return Counter(outcome for (outcome,) in stage.query("select outcome from attempt"))


def test_a_dead_replicas_work_goes_on_elsewhere_in_time(play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.send(1, "a")
        await stage.until(lambda: stage.bodies == 1)
        stage.leave_alone(1)

        stage.busy.crash("in a step")

        await stage.until(lambda: stage.bodies == 2, within_s=TAKE_OVER_S + LATENCY_S)

    stage = play(scene, Step("s", took_ms=30_000))

    assert stage.promises.take_overs == 1
    assert outcomes(stage) == {"lost": 1, "ok": 2}


def test_a_paused_replica_that_comes_back_writes_nothing_of_what_it_lost(play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.send(1, "a")
        await stage.until(lambda: stage.bodies == 1)
        paused = stage.busy
        id = paused.store.replica_id

        stage.trouble.pause(paused, 30.0)  # the answer arrives meanwhile

        await stage.until(lambda: stage.is_done, within_s=20)
        await stage.until(lambda: not paused.is_paused)
        await stage.until(lambda: paused.store.replica_id != id, within_s=5)
        await stage.until(lambda: paused.engine.unready() is None, within_s=1)

    stage = play(scene, Step("s", took_ms=3_000))

    assert (stage.bodies, stage.promises.take_overs) == (2, 1)
    assert outcomes(stage) == {"lost": 1, "ok": 2}


def test_a_short_pause_costs_nothing(play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.send(1, "a")
        await stage.until(lambda: stage.bodies == 1)
        stage.trouble.pause(stage.busy, 6.0)

    stage = play(scene, Step("s", took_ms=3_000))

    assert stage.bodies == 1
    assert not stage.promises.gone


def test_a_rolling_restart_under_load_loses_and_doubles_nothing(play) -> None:
    async def scene(stage: Stage) -> None:
        stage.absences_s = (0.0,)

        async def load() -> None:
            for number in range(40):
                await stage.send(number, "a")
                await asyncio.sleep(0.2)

        loading = asyncio.create_task(load())
        for replica in stage.serving:
            await replica.stop(5.0)
            await stage.until(lambda: len(stage.serving) == 3)
        await loading

    stage = play(scene, Step("s1", took_ms=200), Sleep("nap", 700), Step("s2", took_ms=500), replicas=3)

    assert stage.bodies == 80
    assert len(stage.promises.gone) == 3


@pytest.mark.parametrize("is_heard", [True, False])
def test_what_a_stopping_replica_leaves_is_taken_over_at_once(play, is_heard: bool) -> None:
    """By news; where it doesn't arrive, as behind a pooling proxy, by looking each second."""

    async def scene(stage: Stage) -> None:
        for replica in stage.serving:
            assert isinstance(replica.store, SharedStore)
            replica.store.is_deaf = not is_heard
        await asyncio.sleep(3)  # the beat that was about to come had heard
        await stage.send(1, "a")
        await stage.until(lambda: stage.bodies == 1)
        stage.leave_alone(1)

        await stage.busy.stop(0.5)

        await stage.until(lambda: stage.bodies == 2, within_s=0.1 if is_heard else 1.5)

    stage = play(scene, Step("s", took_ms=30_000))

    assert outcomes(stage) == {"lost": 1, "ok": 2}


def test_replicas_do_not_declare_each_other_dead_after_an_outage(play) -> None:
    """All look dead to the one that reaches the database first; what they hold in memory isn't to be lost."""

    async def scene(stage: Stage) -> None:
        for number in range(6):
            await stage.send(number, "a")
        await stage.until(lambda: stage.bodies == 6)

        await stage.trouble.be_down(30.0)

    stage = play(scene, Step("s", took_ms=5_000), replicas=3)

    assert stage.bodies == 6
    assert not stage.promises.gone


@pytest.mark.parametrize(("kind", "late_s"), [(IngestRequest, 12.0), (ClaimRequest, 8.0)])
def test_a_job_that_was_given_back_before_its_commit_was_answered_is_not_begun(play, kind: type, late_s: float) -> None:
    """It looks like an orphan for long enough to be released; by the time of the answer it may be leased anew."""

    async def scene(stage: Stage) -> None:
        for replica in stage.serving:
            assert isinstance(replica.store, SharedStore)
            replica.store._many._write = answering_late(replica.store)  # pyright: ignore[reportAttributeAccessIssue]
        first = asyncio.create_task(stage.send(1, "a", delay_ms=0 if kind is IngestRequest else 1_000))
        for number in range(2, 20):  # it looks for orphans only where anything was leased
            await asyncio.sleep(1)
            await stage.send(number, "a")
        await first

    def answering_late(store: SharedStore) -> Any:
        is_first = True

        async def write(number: int, requests: Any) -> Any:
            nonlocal is_first
            results = await store._write_late(number, requests)
            has_leased = any(result.claimed or result.leased for result in results)
            if is_first and has_leased and any(isinstance(request, kind) for request in requests):
                is_first = False
                await asyncio.sleep(late_s)
            return results

        return write

    stage = play(scene, Step("s"), replicas=1)

    assert stage.bodies == 19
    callers = [execution.caller for execution in stage.app.ledger.executions]
    assert any(caller.endswith(".0.0.3") for caller in callers)  # the lease after the one that was given back
    assert set(outcomes(stage)) == {"ok"}


def test_a_database_that_is_slow_to_read_from_costs_no_beats(play) -> None:
    async def scene(stage: Stage) -> None:
        for replica in stage.serving:
            assert isinstance(replica.store, SharedStore)
            replica.store._read = reading_late(replica.store)
        await asyncio.sleep(120)

    def reading_late(store: SharedStore) -> Any:
        async def read(plan: Any) -> Any:
            await asyncio.sleep(25)
            return store._read_now(plan)

        return read

    stage = play(scene, Step("s"))

    assert not stage.promises.gone


def test_an_idle_replica_asks_the_database_for_hardly_more_than_its_beats(play, monkeypatch) -> None:
    asked: list[str] = []
    write, read = SharedStore._write, SharedStore._read_now

    def note_write(self: SharedStore, requests: Any) -> Any:
        asked.append("write")
        return write(self, requests)

    def note_read(self: SharedStore, plan: Any) -> Any:
        asked.append("read")
        return read(self, plan)

    async def scene(stage: Stage) -> None:
        await stage.send(1, "a")
        await stage.until(lambda: stage.is_done)
        await asyncio.sleep(30)
        monkeypatch.setattr(SharedStore, "_write", note_write)
        monkeypatch.setattr(SharedStore, "_read_now", note_read)
        await asyncio.sleep(600)
        monkeypatch.undo()

    play(scene, Step("s"))

    beats = 2 * 600 / (TAKE_OVER_S / 5)
    assert asked.count("write") <= beats + 2
    assert asked.count("read") <= beats * 0.3


def test_the_eldest_samples_for_all_and_another_goes_on(play) -> None:
    """It learns by its beats that others work. When all is done nobody looks any more."""

    def looks(replica: Replica) -> int:
        assert isinstance(replica.store, SharedStore)
        return replica.store.look_count

    async def scene(stage: Stage) -> None:
        eldest, *others = sorted(stage.serving, key=lambda replica: replica.store.replica_id)
        assert not any(looks(other) for other in others)
        for number in range(6):
            await stage.send(number, "a")
        await asyncio.sleep(90)
        assert looks(eldest) > 2
        assert not any(looks(other) for other in others)

        stage.leave_alone(2)
        eldest.crash("beside others")

        await asyncio.sleep(3 * TAKE_OVER_S)
        assert [looks(other) > 0 for other in others] == [True, False]
        await stage.until(lambda: stage.is_done, within_s=1_000)
        await asyncio.sleep(150)
        before = looks(others[0])
        await asyncio.sleep(600)
        assert looks(others[0]) == before

    stage = play(scene, *(Step(f"s{number}", took_ms=30_000) for number in range(8)), replicas=3, is_sampling=True)

    running = [running for (running,) in stage.query("select running from sample order by at")]
    assert max(running) == 6
    assert running.index(0) == len(running) - 1, "it falls to nothing once, at the end"
    assert 5 <= len(running) <= 8
