"""What replicas do, one transaction after the other, as the engine does it: what is stale is computed again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import Attempt, Function, Intake, Job, Outcome, Reply, Transition
from stepwell.engine.core.run import cancel, fire
from stepwell.engine.core.state import RunState
from stepwell.protocol.ids import RunId
from stepwell.store.request import ReapRequest, Request, Result, Verdict
from tests.isolation.world import SteppedStore, World
from tests.store.database import Worker
from tests.unit.engine.making import event_of, function_of, op, ops

SILENT_MS: Final = 3_600_000
"""All orders are played from the same beats: replicas that aren't silenced must not become silent meanwhile."""

Compute: TypeAlias = Callable[[RunState], Transition | None]
"""Computes what a run becomes, from its newest state; None when there is nothing left to do."""


async def begin(world: World, *ids: str, functions: Sequence[Function] = (function_of(),)) -> list[Worker]:
    """Enter replicas, of which the first registers the functions, and all know them."""
    workers = await world.replicas(*ids)
    await workers[0].begin(*functions)
    for worker in workers[1:]:
        await worker.refresh()
    return workers


async def run_of_a_group(worker: Worker, *steps: str, number: int = 1) -> tuple[RunState, list[Job]]:
    """Start a run that has planned steps, to be run in parallel; their jobs are leased, those of a sleep are not."""
    run, job = await worker.run(event_of(number))
    members = [op("Sleep", step, value="1h") if step == "sleep" else op("StepPlanned", step) for step in steps]
    transition = await worker.reply(run.id, job, ops(*members), is_leased=True)
    return await worker.state(run.id), list(transition.jobs)


# -- what becomes of a run --------------------------------------------------------------------------------------------


def answering(worker: Worker, job: Job, reply: Reply) -> Compute:
    """Advance a run by the reply to a leased job; as long as it has that lease, else the attempt is kept as lost."""

    def compute(state: RunState) -> Transition:
        held = state.jobs.get(job.id)
        if held is not None and held.generation == job.generation:
            return worker.transition(state, job, reply, is_leased=True)
        attempt = Attempt(
            run_id=state.run.id,
            id=attempt_id(job),
            step_id=job.step_id,
            title=job.title,
            attempt=job.attempt,
            started_at=worker.now,
            ended_at=worker.now,
            outcome=Outcome.LOST,
        )
        run = msgspec.structs.replace(state.run, version=state.run.version + 1)
        return Transition(run=run, at=worker.now, job=job, attempt=attempt)

    return compute


def finishing(worker: Worker, job: Job, data: object = 1) -> Compute:
    """Report the result of a planned step."""
    return answering(worker, job, ops(op("StepRun", job.title, data=data)))


def waking(worker: Worker, job: Job) -> Compute:
    """End a sleep."""

    def compute(state: RunState) -> Transition | None:
        if state.run.status.is_final or job.id not in state.jobs:
            return None
        transition = fire(state, job, at=worker.now)
        return msgspec.structs.replace(transition, jobs=tuple(worker.leased(new) for new in transition.jobs))

    return compute


def cancelling(worker: Worker) -> Compute:
    """Cancel a run that has not ended."""

    def compute(state: RunState) -> Transition | None:
        if state.run.status.is_final:
            return None
        return cancel(state, worker.registry.by_id[state.run.function_id], at=worker.now, reason="api")

    return compute


# -- transactions -----------------------------------------------------------------------------------------------------


async def commit(worker: Worker, state: RunState, compute: Compute) -> Verdict:
    """Commit what becomes of a run, from its newest state while that is stale. Lost when nothing is left to do."""
    [verdict] = await commit_together(worker, [(state, compute)])
    return verdict


async def commit_together(
    worker: Worker, changes: Sequence[tuple[RunState, Compute]], *others: Request
) -> list[Verdict]:
    """Commit what becomes of several runs, first in one transaction with other requests; return their verdicts."""
    verdicts = [Verdict.LOST] * len(changes)
    todo = list(range(len(changes)))
    states = [state for state, _ in changes]
    while True:
        computed = [(number, changes[number][1](states[number])) for number in todo]
        planned = [(number, transition) for number, transition in computed if transition is not None]
        requests: list[Request] = [worker.carrying_out(transition) for _, transition in planned]
        if not requests and not others:
            return verdicts
        results = await together(worker, *requests, *others)
        others = ()
        for (number, _), result in zip(planned, results, strict=False):
            verdicts[number] = result.verdict
        todo = [number for number, _ in planned if verdicts[number] is Verdict.STALE]
        if not todo:
            return verdicts
        await worker.refresh()
        newest = await worker.store.load_runs([states[number].run.id for number in todo])
        for number in todo:
            states[number] = newest[states[number].run.id]


async def ingest(worker: Worker, make: Callable[[], Sequence[Intake]]) -> tuple[Result, Sequence[Intake]]:
    """Take events in, with the functions as they are at last."""
    while True:
        intakes = make()
        result = await worker.store.submit(worker.ingestion(*intakes))
        if result.verdict is not Verdict.STALE:
            return result, intakes
        await worker.refresh()


async def together(worker: Worker, *requests: Request) -> list[Result]:
    """Submit requests as one transaction."""
    assert isinstance(worker.store, SteppedStore)
    return await worker.store.submit_batch(*requests)


async def reap(worker: Worker) -> None:
    """Take over from the replicas that have been silent for too long."""
    await worker.store.submit(ReapRequest(SILENT_MS, worker.now))


# -- looking on -------------------------------------------------------------------------------------------------------


async def is_there(world: World, worker: Worker) -> bool:
    """Tell whether a replica's row is there: it wasn't declared dead."""
    return bool(await world.rows("select id from replica where id = ?", worker.store.replica_id))


async def attempts(world: World, run_id: RunId) -> list[tuple[str, str]]:
    """Return a run's attempts with their outcomes, by id."""
    rows = await world.rows("select id, outcome from attempt where run_id = ? order by id", run_id)
    return [(id, outcome) for id, outcome in rows]


async def statuses(world: World) -> list[str]:
    """Return the statuses of all runs, sorted."""
    return sorted(itertools.chain.from_iterable(await world.rows("select status from run")))
