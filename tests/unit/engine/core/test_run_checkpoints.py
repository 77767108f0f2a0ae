"""Checkpoints: steps that a call reports while it goes on (protocol 7.2)."""

from __future__ import annotations

import pytest

from stepwell.engine.core.change import Policy
from stepwell.engine.core.model import JobKind, Outcome, RunStatus
from stepwell.protocol.ops import Op
from tests.unit.engine.making import Machine, error, function_of, op, ops, result, step_id


def test_the_steps_of_a_checkpoint_are_remembered_and_the_call_goes_on() -> None:
    machine = Machine()
    job = machine.lease()

    transition = machine.checkpoint(job, op("StepRun", "a", data=1), op("StepRun", "b", data=2))

    assert transition is not None
    assert transition.kept == job
    assert transition.job is None
    assert machine.state.stack == [step_id("a"), step_id("b")]
    assert (machine.memo("a"), machine.memo("b")) == (b'{"data":1}', b'{"data":2}')
    assert machine.run.status is RunStatus.RUNNING
    assert [held.id for held in machine.jobs] == [job.id]


def test_each_step_is_an_attempt_of_its_own_that_it_points_to() -> None:
    machine = Machine(function_of(retries=2))
    machine.reply(error())
    job = machine.lease()

    transition = machine.checkpoint(job, op("StepRun", "a"), op("StepRun", "b"))

    assert transition is not None
    assert [(attempt.title, attempt.attempt, attempt.outcome) for attempt in transition.attempts] == [
        ("a", 1, Outcome.OK),
        ("b", 0, Outcome.OK),
    ]
    assert [step.attempt_id for step in transition.steps] == [attempt.id for attempt in transition.attempts]
    assert len({attempt.id for attempt in transition.attempts}) == 2


def test_a_checkpoint_of_known_steps_changes_nothing() -> None:
    machine = Machine()
    job = machine.lease()
    machine.checkpoint(job, op("StepRun", "a", data=1))

    assert machine.checkpoint(job, op("StepRun", "a", data=2)) is None
    assert machine.memo("a") == b'{"data":1}'


def test_what_is_no_result_is_left_to_the_end_of_the_call() -> None:
    machine = Machine()
    job = machine.lease()

    assert machine.checkpoint(job, op("StepPlanned", "p"), op("Sleep", "z", value="1s")) is None


def test_after_a_checkpoint_the_call_has_all_its_retries() -> None:
    machine = Machine(function_of(retries=1))
    machine.reply(error())
    job = machine.lease()
    assert (job.attempt, job.max_attempts) == (1, 2)

    machine.checkpoint(job, op("StepRun", "a"))
    machine.answer(job, ops(op("StepError", "b", error={"name": "Error", "message": "no"})))

    [retry] = machine.jobs
    assert (machine.outcome(), retry.attempt) == (Outcome.ERROR, 1)
    machine.reply(ops(op("StepError", "b", error={"name": "Error", "message": "no"})))
    assert machine.memo("b") is not None


def test_what_the_call_returned_ends_the_run_with_the_steps_before() -> None:
    machine = Machine()
    job = machine.lease()
    machine.checkpoint(job, op("StepRun", "a"))

    machine.answer(job, result(b"3"))

    assert (machine.run.status, machine.run.output) == (RunStatus.COMPLETED, b"3")
    assert machine.state.stack == [step_id("a")]


def test_a_call_knows_of_the_steps_that_it_reported() -> None:
    """Its end is followed by no discovery for their sake: it has gone on with them."""
    machine = Machine()
    job = machine.lease()
    machine.checkpoint(job, op("StepRun", "a"))

    machine.answer(job, ops(op("Sleep", "z", value="1s")))

    assert machine.waiting() == [("timer", "z")]


def test_steps_of_others_that_came_meanwhile_are_unseen_all_the_same() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "p"), op("Sleep", "z", value="1s"), version=1))
    planned = machine.lease(machine.job_of("p"))
    machine.fire(machine.job_of("z"))
    [discovery] = machine.discoveries()
    discovery = machine.lease(discovery)
    machine.checkpoint(discovery, op("StepRun", "a"))
    machine.answer(planned, ops(op("StepRun", "p"), version=1))

    machine.answer(discovery, ops(op("Sleep", "y", value="1s"), version=1))

    assert machine.waiting() == [("discover", "step"), ("timer", "y")]


def test_a_step_that_arrived_though_its_checkpoint_was_not_answered_is_reported_again_for_nothing() -> None:
    """The app ends its call with what it takes to be new; that isn't a call for nothing."""
    machine = Machine(function_of(retries=0))
    job = machine.lease()
    machine.checkpoint(job, op("StepRun", "a", data=1))

    machine.answer(job, ops(op("StepRun", "a", data=1)))

    assert machine.waiting() == [("discover", "step")]
    assert machine.outcome() is Outcome.OK
    machine.reply(result())
    assert machine.run.status is RunStatus.COMPLETED


def test_an_app_that_asks_for_nothing_is_wrong_after_a_checkpoint_too() -> None:
    machine = Machine(function_of(retries=0))
    job = machine.lease()
    machine.checkpoint(job, op("StepRun", "a"))

    machine.answer(job, ops())

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "nothing_to_do")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (op("StepRun", "a", id="not an id"), "InvalidOp"),
        (op("StepRun", "b"), "InngestErrFunctionOverflowed"),
    ],
)
def test_a_checkpoint_that_breaks_a_limit_fails_the_run(step: Op, reason: str) -> None:
    machine = Machine(policy=Policy(steps_max=1))
    job = machine.lease()
    machine.checkpoint(job, op("StepRun", "a"))

    transition = machine.checkpoint(job, step)

    assert transition is not None
    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, reason)
    assert machine.jobs == []


def test_the_first_checkpoint_starts_the_run_and_what_watches_over_it() -> None:
    machine = Machine(function_of(timeouts={"finish": "1m"}))
    job = machine.lease()
    started_at = machine.now

    transition = machine.checkpoint(job, op("StepRun", "a"))
    machine.checkpoint(job, op("StepRun", "b"))

    assert transition is not None
    assert machine.run.started_at == started_at
    [guard] = [held for held in machine.jobs if held.kind is JobKind.TIMEOUT]
    assert guard.due_at == started_at + 60_000
