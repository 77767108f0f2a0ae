"""Limits of a run, on both sides of each (protocol 4.9.5)."""

from __future__ import annotations

import msgspec
import pytest

from stepwell.engine.core.change import Policy
from stepwell.engine.core.model import RunStatus
from stepwell.limits import STEP_OUTPUT_BYTES_MAX, STEPS_PER_RUN_MAX
from stepwell.protocol.ops import Op
from tests.unit.engine.making import Machine, op, ops, result, step_id


def test_a_run_of_exactly_1000_steps_ends_well() -> None:
    machine = Machine()
    for number in range(STEPS_PER_RUN_MAX):
        machine.reply(ops(op("StepRun", f"s{number}", data=number)))

    machine.reply(result())

    assert STEPS_PER_RUN_MAX == 1000
    assert machine.run.status is RunStatus.COMPLETED
    assert len(machine.state.stack) == 1000


def test_one_step_more_fails_the_run() -> None:
    machine = Machine()
    for number in range(STEPS_PER_RUN_MAX):
        machine.reply(ops(op("StepRun", f"s{number}", data=number)))

    machine.reply(ops(op("StepRun", "one more", data=1)))

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "InngestErrFunctionOverflowed")
    assert machine.memo("one more") is None


FIVE = Policy(steps_max=5)


def five_ways(way: str) -> Machine:
    """Bring a run to exactly five steps, all done."""
    machine = Machine(policy=FIVE)
    names = [f"s{number}" for number in range(5)]
    match way:
        case "inline":
            for name in names:
                machine.reply(ops(op("StepRun", name, data=1)))
        case "planned one by one":
            for name in names:
                machine.reply(ops(op("StepPlanned", name)))
                machine.reply(ops(op("StepRun", name, data=1)))
        case "in parallel":
            machine.reply(ops(*(op("StepPlanned", name) for name in names)))
            for name in names:
                machine.reply(ops(op("StepRun", name, data=1)), machine.job_of(name))
        case "planned again by its own call":
            for name in names:
                machine.reply(ops(op("StepPlanned", name)))
                machine.reply(ops(op("StepPlanned", name)))
                machine.reply(ops(op("StepRun", name, data=1)))
        case "known to another call":
            machine.reply(ops(*(op("StepPlanned", name) for name in names)))
            for name in names:
                machine.reply(ops(*(op("StepRun", other, data=1) for other in names)), machine.job_of(name))
        case "sleeps":
            for name in names:
                machine.reply(ops(op("Sleep", name, value="1s")))
                machine.fire(machine.job_of(name))
        case "failed":
            for name in names:
                machine.reply(ops(op("StepFailed", name, error={})))
        case _:
            machine.reply(ops(*(op("StepRun", name, data=1) for name in names)))
    return machine


WAYS = [
    "inline",
    "planned one by one",
    "in parallel",
    "planned again by its own call",
    "known to another call",
    "sleeps",
    "failed",
    "all in one reply",
]


@pytest.mark.parametrize("way", WAYS)
def test_the_limit_itself_is_allowed_however_the_steps_come(way: str) -> None:
    machine = five_ways(way)
    assert machine.run.status is RunStatus.RUNNING
    assert machine.state.step_count == 5

    machine.reply(result(), machine.discoveries()[0])

    assert machine.run.status is RunStatus.COMPLETED


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", ["StepRun", "StepPlanned", "Sleep", "StepFailed"])
def test_the_step_over_the_limit_fails_the_run_however_it_comes(way: str, code: str) -> None:
    machine = five_ways(way)

    machine.reply(ops(op(code, "six", data=1, value="1s")), machine.discoveries()[0])

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "InngestErrFunctionOverflowed")


def test_known_steps_do_not_count_again() -> None:
    machine = five_ways("inline")

    machine.reply(ops(op("StepRun", "s0", data=2), op("StepPlanned", "s1"), op("RunComplete", data=None)))

    assert machine.run.status is RunStatus.COMPLETED


def test_a_step_output_at_the_limit_is_taken_and_one_over_it_fails_the_run() -> None:
    at_limit = "x" * (STEP_OUTPUT_BYTES_MAX - 2)  # and two quotes
    machine = Machine()
    machine.reply(ops(op("StepRun", "a", data=at_limit)))
    assert machine.run.status is RunStatus.RUNNING

    machine.reply(ops(op("StepRun", "b", data=at_limit + "x")))

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "output_too_large")
    assert machine.run.output is not None
    assert len(machine.run.output) < 1000


def test_a_state_at_the_limit_is_taken_and_one_over_it_fails_the_run() -> None:
    sizes = Machine()
    sizes.reply(ops(op("StepRun", "a", data="x" * 100)))
    limit = sizes.state.size_bytes

    machine = Machine(policy=Policy(state_bytes_max=limit))
    machine.reply(ops(op("StepRun", "a", data="x" * 100)))
    assert machine.run.status is RunStatus.RUNNING
    machine.reply(ops(op("StepRun", "b", data=1)))
    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "InngestErrStateOverflowed")

    machine = Machine(policy=Policy(state_bytes_max=limit))
    machine.reply(ops(op("StepRun", "a", data="x" * 101)))
    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "InngestErrStateOverflowed")


def test_steps_of_one_reply_count_together() -> None:
    machine = Machine(policy=Policy(state_bytes_max=600))

    machine.reply(ops(*(op("StepRun", f"s{number}", data="x" * 100) for number in range(5))))

    assert machine.run.reason == "InngestErrStateOverflowed"
    assert machine.last.steps == ()


@pytest.mark.parametrize("code", ["StepRun", "Step", "RunComplete"])
@pytest.mark.parametrize("data", [b"1e400", b"9" * 5_000, b'"\xff"', b"[" * 2_000 + b"]" * 2_000])
def test_a_result_that_cannot_be_passed_on_fails_the_run(code: str, data: bytes) -> None:
    machine = Machine()

    machine.reply(ops(Op(id=step_id("a"), op=code, data=msgspec.Raw(data))))

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "InvalidOutput")
    assert machine.memo("a") is None


def test_a_sleep_that_says_nothing_fails_the_run() -> None:
    machine = Machine()

    machine.reply(ops(Op(id=step_id("a"), op="Sleep")))

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "InvalidSleep")
