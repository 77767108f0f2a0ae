"""Parallel steps: groups by request version, races, forced plans, and completions that a discovery hasn't seen."""

from __future__ import annotations

import pytest

from stepwell.engine.core.model import JobKind, OpsReply, RunStatus
from tests.unit.engine.making import Machine, error, function_of, op, ops, result, step_id

RACE = {"parallelMode": "race"}


def planned(*names: str, version: int = 2, opts: object = None) -> OpsReply:
    return ops(*(op("StepPlanned", name, opts=opts) for name in names), version=version)


def done(machine: Machine, name: str, *, version: int = 2) -> None:
    machine.reply(ops(op("StepRun", name, data=name), version=version), machine.job_of(name))


# -- version 2: joined ----------------------------------------------------------------------------------------------


def test_the_parallel_exchange_of_the_protocol_runs_to_its_end() -> None:
    """Protocol 4.12: a and b in parallel, b fails once, then c."""
    machine = Machine()
    machine.reply(planned("a", "b"))
    assert machine.run.is_plan_forced
    assert machine.waiting() == [("step", "a"), ("step", "b")]

    done(machine, "a")
    assert machine.waiting() == [("step", "b")]
    machine.reply(ops(op("StepError", "b", error={"name": "E", "message": "m"})), machine.job_of("b"))
    assert machine.waiting() == [("step", "b")]
    assert machine.run.is_plan_forced

    done(machine, "b")
    assert machine.waiting() == [("discover", "step")]
    assert not machine.run.is_plan_forced
    assert machine.jobs[0].stack_current == 2
    assert machine.state.stack == [step_id("a"), step_id("b")]

    machine.reply(ops(op("StepRun", "c", data=3)))
    machine.reply(result(b'"end"'))
    assert machine.run.status is RunStatus.COMPLETED


@pytest.mark.parametrize("order", [("a", "b", "nap"), ("nap", "b", "a"), ("b", "nap", "a")])
def test_the_last_of_a_group_leads_to_the_discovery_whatever_it_is(order: tuple[str, ...]) -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "a"), op("StepPlanned", "b"), op("Sleep", "nap", value="1s")))

    for number, name in enumerate(order):
        assert machine.discoveries() == []
        if name == "nap":
            machine.fire(machine.job_of("nap"))
        else:
            done(machine, name)
        assert len(machine.state.stack) == number + 1

    assert machine.waiting() == [("discover", "step")]
    assert machine.state.stack == [step_id(name) for name in order]


def test_a_failed_step_counts_as_done_for_its_group() -> None:
    machine = Machine()
    machine.reply(planned("a", "b"))
    done(machine, "a")

    machine.reply(ops(op("StepFailed", "b", error={"name": "E", "message": "m"})), machine.job_of("b"))

    assert machine.waiting() == [("discover", "step")]


def test_one_op_is_no_group() -> None:
    machine = Machine()

    machine.reply(planned("a"))

    assert not machine.run.is_plan_forced
    assert not machine.jobs[0].is_joined


def test_results_alone_are_no_group() -> None:
    machine = Machine()

    machine.reply(ops(op("StepRun", "a", data=1), op("StepRun", "b", data=1)))

    assert not machine.run.is_plan_forced
    assert machine.waiting() == [("discover", "step")]


def test_ops_that_do_nothing_do_not_make_a_group() -> None:
    machine = Machine()

    machine.reply(ops(op("None", "x"), op("StepPlanned", "a")))

    assert not machine.run.is_plan_forced


# -- races ----------------------------------------------------------------------------------------------------------


def test_each_op_of_a_race_leads_to_a_discovery_of_its_own() -> None:
    machine = Machine()
    machine.reply(planned("a", "b", opts=RACE))

    done(machine, "a")

    assert machine.waiting() == [("discover", "step"), ("step", "b")]
    assert not machine.run.is_plan_forced


def test_the_loser_of_a_race_does_not_hold_up_the_group_that_follows() -> None:
    """Ops reported again don't join the new set (protocol 4.10.4, the quirk that it says to avoid)."""
    machine = Machine()
    machine.reply(planned("slow", "fast", opts=RACE))
    done(machine, "fast")
    machine.reply(planned("slow", "x", "y"), machine.discoveries()[0])
    assert machine.waiting() == [("step", "slow"), ("step", "x"), ("step", "y")]

    done(machine, "x")
    assert machine.discoveries() == []
    done(machine, "y")

    assert machine.waiting() == [("discover", "step"), ("step", "slow")]


def test_the_end_of_a_run_removes_the_losers() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "a", opts=RACE), op("Sleep", "nap", value="1d", opts=RACE)))
    done(machine, "a")

    machine.reply(result(), machine.discoveries()[0])

    assert machine.jobs == []
    assert machine.run.status is RunStatus.COMPLETED


# -- forced plans ---------------------------------------------------------------------------------------------------


def test_a_discovery_may_not_run_steps_inline_while_planned_ones_are_pending() -> None:
    """The SDK can't tell a new step from one that is under way: it would run that a second time."""
    machine = Machine()
    machine.reply(planned("a", "b", opts=RACE))

    done(machine, "a")
    assert not machine.run.is_plan_forced
    assert machine.state.must_plan

    done(machine, "b")
    assert not machine.state.must_plan


def test_a_sleep_alone_forces_no_plan() -> None:
    machine = Machine()
    machine.reply(ops(op("Sleep", "nap", value="1d", opts=RACE), op("StepPlanned", "a", opts=RACE)))

    done(machine, "a")

    assert not machine.state.must_plan


def test_a_forced_plan_stays_with_older_versions() -> None:
    machine = Machine()
    machine.reply(planned("a", "b", version=1))
    for name in ("a", "b"):
        done(machine, name, version=1)

    assert machine.run.is_plan_forced
    assert machine.state.must_plan


# -- versions 0 and 1 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1])
def test_each_completion_leads_to_a_discovery(version: int) -> None:
    machine = Machine()
    machine.reply(planned("a", "b", version=version))

    done(machine, "a", version=version)
    assert machine.waiting() == [("discover", "step"), ("step", "b")]

    machine.reply(planned("b", version=version), machine.discoveries()[0])
    assert machine.waiting() == [("step", "b")]

    done(machine, "b", version=version)
    assert machine.waiting() == [("discover", "step")]


def test_a_discovery_that_waits_serves_for_all_completions_before_it() -> None:
    machine = Machine()
    machine.reply(planned("a", "b", "c", version=1))

    for name in ("a", "b", "c"):
        done(machine, name, version=1)

    assert machine.waiting() == [("discover", "step")]


# -- completions that a discovery hasn't seen -----------------------------------------------------------------------


def test_a_completion_during_a_discovery_leads_to_another_one() -> None:
    machine = Machine()
    machine.reply(planned("a", "b", version=1))
    done(machine, "a", version=1)
    discovery = machine.lease(machine.discoveries()[0])
    done(machine, "b", version=1)
    assert len(machine.discoveries()) == 1  # at most one at a time: two would run the same step inline, both

    machine.answer(discovery, planned("b", version=1))

    assert machine.waiting() == [("discover", "step")]
    assert machine.discoveries()[0].id != discovery.id


def test_a_completion_that_the_discovery_saw_does_not() -> None:
    machine = Machine()
    machine.reply(planned("a", "b", version=1))
    done(machine, "a", version=1)
    done(machine, "b", version=1)

    machine.reply(ops(op("Sleep", "nap", value="1h"), version=1))

    assert machine.waiting() == [("timer", "nap")]


def test_a_discovery_that_failed_sees_later_completions_when_it_is_tried_again() -> None:
    machine = Machine()
    machine.reply(planned("a", "b", version=1))
    done(machine, "a", version=1)
    machine.reply(error(), machine.discoveries()[0])

    done(machine, "b", version=1)

    [discovery] = machine.jobs
    assert (discovery.kind, discovery.attempt) == (JobKind.DISCOVER, 1)


def test_an_inline_step_that_waits_for_its_retry_is_not_run_beside_it() -> None:
    """A second discovery would run the step again, with a full set of attempts."""
    machine = Machine(function_of(retries=3))
    machine.reply(ops(op("StepPlanned", "a", opts=RACE), op("Sleep", "nap", value="1s", opts=RACE)))
    done(machine, "a")
    machine.reply(ops(op("StepError", "x", error={"name": "E", "message": "m"})), machine.discoveries()[0])

    machine.fire(machine.job_of("nap"))

    [discovery] = machine.jobs
    assert discovery.attempt == 1


def test_an_end_during_a_discovery_wins() -> None:
    machine = Machine()
    machine.reply(planned("a", "b", version=1))
    done(machine, "a", version=1)
    discovery = machine.lease(machine.discoveries()[0])
    done(machine, "b", version=1)

    machine.answer(discovery, result())

    assert machine.run.status is RunStatus.COMPLETED
    assert machine.jobs == []
