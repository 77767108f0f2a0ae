"""A run's state is the fold of its transitions, whichever way it came into memory."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.engine.core.model import Step
from stepwell.engine.core.state import RunState, member_bytes
from tests.unit.engine.making import T0, Machine, op, ops, result, step_id


def folded(machine: Machine) -> RunState:
    """Make the state as a database would: from the run, the steps in order and the pending jobs."""
    steps: list[Step] = [step for transition in machine.transitions for step in transition.steps]
    return RunState(machine.run, machine.event.body, steps, machine.jobs)


def everything(state: RunState) -> tuple[object, ...]:
    return (
        state.run,
        state.event,
        state.memo,
        state.stack,
        state.steps_sorted,
        state.memo_bytes,
        state.jobs,
        state.pending,
        state.joined,
    )


@given(st.lists(st.sampled_from(["run", "plan", "sleep", "fail", "error"]), max_size=12), st.sampled_from([0, 1, 2]))
def test_the_fold_of_the_transitions_equals_the_state_from_the_database(kinds: list[str], version: int) -> None:
    machine = Machine()
    for number, kind in enumerate(kinds):
        name = f"s{number}"
        job = machine.jobs[0]
        if job.kind == "timer":
            machine.fire(job)
            continue
        target = job.title or name
        match kind:
            case "run":
                machine.reply(ops(op("StepRun", target, data=number), version=version), job)
            case "plan":
                members = [op("StepPlanned", f"{name}{letter}") for letter in "ab"]
                machine.reply(ops(*members, version=version), job)
            case "sleep":
                machine.reply(ops(op("Sleep", name, value="1s"), op("StepPlanned", f"{name}a"), version=version), job)
            case "fail":
                machine.reply(ops(op("StepFailed", target, error={}), version=version), job)
            case _:
                machine.reply(ops(op("StepError", target, error={}), version=version), job)
        if machine.run.status.is_final:
            break
        assert machine.jobs, "a run that isn't finished has a job"
        assert everything(folded(machine)) == everything(machine.state)
    assert everything(folded(machine)) == everything(machine.state)


def test_the_members_of_a_call_are_sorted_and_the_stack_is_in_order_of_completion() -> None:
    machine = Machine()
    for name in ("c", "a", "b"):
        machine.reply(ops(op("StepRun", name, data=name)))

    assert machine.state.stack == [step_id("c"), step_id("a"), step_id("b")]
    assert machine.state.steps_sorted == sorted(machine.state.steps_sorted)
    body = b"{" + b",".join(machine.state.steps_sorted) + b"}"
    assert msgspec.json.decode(body) == {step_id(name): {"data": name} for name in "abc"}


def test_the_size_is_that_of_event_and_members() -> None:
    machine = Machine()
    machine.reply(ops(op("StepRun", "a", data="x" * 50)))

    body = b",".join(machine.state.steps_sorted) + b","
    assert machine.state.size_bytes == len(machine.event.body) + len(body)
    assert member_bytes("id", b"null") == len(b'"id":null,')


def test_a_final_transition_leaves_no_jobs() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "a"), op("Sleep", "nap", value="1h")))

    machine.cancel()

    assert (machine.state.jobs, machine.state.pending, machine.state.joined) == ({}, set(), set())


def test_a_transition_cannot_be_applied_twice_or_out_of_order() -> None:
    machine = Machine()
    transition = machine.reply(ops(op("StepRun", "a", data=1)))

    with pytest.raises(AssertionError, match="out of order"):
        machine.state.apply(transition)


def test_a_result_cannot_be_recorded_twice() -> None:
    machine = Machine()
    transition = machine.reply(ops(op("StepRun", "a", data=1)))
    again = msgspec.structs.replace(
        transition, job=machine.jobs[0], run=msgspec.structs.replace(transition.run, version=2)
    )

    with pytest.raises(AssertionError, match="recorded twice"):
        machine.state.apply(again)


def test_a_job_that_is_put_again_counts_once() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "a"), op("Sleep", "nap", value="1h")))

    leased = machine.lease(machine.job_of("a"))

    assert machine.state.jobs[leased.id].leased_at == T0 + 10
    assert machine.state.step_count == 2
    machine.answer(leased, result())
    assert machine.state.step_count == 0
