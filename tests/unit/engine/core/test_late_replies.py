"""Replies whose job others have had meanwhile: what they would change is refused, but it must be computed."""

from __future__ import annotations

from stepwell.engine.core.change import Answered, Policy
from stepwell.engine.core.run import advance
from tests.unit.engine.making import T0, Machine, function_of, op, ops


def test_a_reply_whose_job_was_ended_by_another_replica_is_computed_as_ever() -> None:
    machine = Machine(function_of())
    reply = ops(op("StepRun", "s1", data=1))
    ended = machine.reply(reply)
    assert ended.job is not None
    assert ended.job.id not in machine.state.jobs

    late = Answered(reply, started_at=T0, ended_at=T0 + 1, chance=0.0, stack_seen=0)
    transition = advance(machine.state, ended.job, late, machine.function, Policy())

    assert (transition.job, transition.steps, transition.jobs) == (ended.job, (), ())
