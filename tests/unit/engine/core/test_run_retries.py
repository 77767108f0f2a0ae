"""Attempts: what is tried again, when, how often, and what the error becomes (protocol 4.9)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.change import Policy
from stepwell.engine.core.failure import standard_error
from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import JobKind, Outcome, RunStatus
from stepwell.protocol.ids import COMPLETE
from tests.unit.engine.making import Machine, error, function_of, op, ops, result, step_id

FAILS = {"name": "ValueError", "message": "no stock", "stack": "Traceback …"}


def test_a_failed_discovery_is_tried_again_until_its_attempts_are_used_up() -> None:
    machine = Machine(function_of(retries=2))
    seen: list[tuple[int, int]] = []
    while machine.jobs:
        [job] = machine.jobs
        seen.append((job.attempt, job.max_attempts))
        machine.reply(error("boom"))

    assert seen == [(0, 3), (1, 3), (2, 3)]
    assert machine.run.status is RunStatus.FAILED
    assert machine.run.output == b'{"message":"boom","name":"Error"}'
    assert machine.run.reason == "function_error"
    outcomes = [transition.attempt.outcome for transition in machine.transitions if transition.attempt]
    assert outcomes == [Outcome.ERROR, Outcome.ERROR, Outcome.FAILED]


def test_retries_wait_by_the_table_and_chance() -> None:
    machine = Machine()
    machine.chance = 0.5

    machine.reply(error())
    assert machine.jobs[0].due_at == machine.now + 15_000 + 15_000
    attempt = machine.last.attempt
    assert attempt is not None
    assert attempt.retry_at == machine.jobs[0].due_at

    machine.reply(error())
    assert machine.jobs[0].due_at == machine.now + 30_000 + 15_000


def test_a_constant_replaces_the_table() -> None:
    machine = Machine(policy=Policy(retry_constant_ms=1_000))
    machine.chance = 0.9

    machine.reply(error())

    assert machine.jobs[0].due_at == machine.now + 1_000


@pytest.mark.parametrize("policy", [Policy(), Policy(retry_constant_ms=1_000)])
def test_retry_after_replaces_both(policy: Policy) -> None:
    machine = Machine(policy=policy)
    machine.chance = 0.9

    machine.reply(error(retry_after_ms=7_000))
    assert machine.jobs[0].due_at == machine.now + 7_000

    machine.reply(ops(op("StepError", "a", error=FAILS), retry_after_ms=5_000))
    assert machine.jobs[0].due_at == machine.now + 5_000


def test_a_retry_is_the_same_job_and_another_attempt() -> None:
    machine = Machine()
    first = machine.lease()
    machine.answer(first, error())

    second = machine.lease()

    assert second.id == first.id
    assert second.generation > first.generation
    assert attempt_id(second) != attempt_id(first)
    assert (second.attempt, second.lost_count) == (1, 0)


def test_no_retry_fails_the_run_at_once() -> None:
    machine = Machine()

    machine.reply(error(no_retry=True))

    assert machine.run.status is RunStatus.FAILED


def test_no_retry_false_does_not_add_attempts() -> None:
    machine = Machine(function_of(retries=0))

    machine.reply(error(no_retry=False))

    assert machine.run.status is RunStatus.FAILED


def test_each_job_has_its_own_attempts() -> None:
    """A success ends the item; the next call is a new item whose attempt is 0 (protocol 4.9.1)."""
    machine = Machine(function_of(retries=1))
    machine.reply(error())

    machine.reply(ops(op("StepRun", "a", data=1)))
    assert machine.jobs[0].attempt == 0

    machine.reply(error())
    assert machine.jobs[0].attempt == 1

    machine.reply(result())
    assert machine.run.status is RunStatus.COMPLETED


def test_lost_attempts_use_up_no_retries() -> None:
    machine = Machine(function_of(retries=1))
    [job] = machine.jobs
    machine.state.put(msgspec.structs.replace(job, lost_count=5))

    machine.reply(error())

    [job] = machine.jobs
    assert (job.attempt, job.lost_count) == (1, 0)


# -- step errors ----------------------------------------------------------------------------------------------------


def test_a_step_error_is_tried_again_as_the_same_item() -> None:
    machine = Machine()

    machine.reply(ops(op("StepError", "a", error=FAILS)))

    [job] = machine.jobs
    assert (job.kind, job.step_id, job.attempt) == (JobKind.DISCOVER, "step", 1)
    assert machine.memo("a") is None
    attempt = machine.last.attempt
    assert attempt is not None
    assert (attempt.outcome, attempt.step_id, attempt.title) == (Outcome.ERROR, step_id("a"), "a")
    assert attempt.error is not None
    assert msgspec.json.decode(attempt.error) == FAILS


def test_a_targeted_step_error_is_tried_again_targeted() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "a"), op("StepPlanned", "b")))
    job = machine.job_of("a")

    machine.reply(ops(op("StepError", "a", error=FAILS)), job)

    again = machine.job_of("a")
    assert (again.id, again.step_id, again.attempt, again.is_joined) == (job.id, step_id("a"), 1, True)
    assert machine.state.is_pending(step_id("a"))
    assert machine.job_of("b").attempt == 0


@pytest.mark.parametrize("is_targeted", [False, True])
def test_a_step_that_fails_at_its_last_attempt_is_remembered_as_failed(is_targeted: bool) -> None:
    """The function gets the error back and may catch it: a discovery with attempt 0 follows (protocol 4.9.3)."""
    machine = Machine(function_of(retries=1))
    if is_targeted:
        machine.reply(ops(op("StepPlanned", "a")))
    machine.reply(ops(op("StepError", "a", error=FAILS)))

    machine.reply(ops(op("StepError", "a", error=FAILS)))

    memo = machine.memo("a")
    assert memo is not None
    assert msgspec.json.decode(memo) == {"error": FAILS}
    assert machine.outcome() is Outcome.FAILED
    [job] = machine.jobs
    assert (job.kind, job.attempt) == (JobKind.DISCOVER, 0)


@pytest.mark.parametrize(
    "reply",
    [
        ops(op("StepFailed", "a", error=FAILS, data={"ignored": True})),
        ops(op("StepError", "a", error=FAILS), no_retry=True),
        # JavaScript 3 says so even with its last attempt: the op decides.
        ops(op("StepFailed", "a", error=FAILS), no_retry=False),
    ],
)
def test_a_step_that_failed_for_good_is_not_tried_again(reply: Any) -> None:
    machine = Machine()

    machine.reply(reply)

    memo = machine.memo("a")
    assert memo is not None
    assert msgspec.json.decode(memo) == {"error": FAILS}
    assert machine.waiting() == [("discover", "step")]
    assert machine.jobs[0].attempt == 0
    assert machine.run.status is RunStatus.RUNNING


def test_an_uncaught_step_failure_fails_the_run() -> None:
    machine = Machine()
    machine.reply(ops(op("StepFailed", "a", error=FAILS)))

    machine.reply(error("no stock", no_retry=True))

    assert machine.run.status is RunStatus.FAILED


def test_a_no_retry_in_the_op_alone_does_nothing() -> None:
    machine = Machine()

    machine.reply(ops(op("StepError", "a", error={**FAILS, "noRetry": True})))

    assert machine.jobs[0].attempt == 1


def test_two_step_errors_of_one_reply_are_one_retry() -> None:
    machine = Machine()

    machine.reply(ops(op("StepError", "a", error=FAILS), op("StepError", "b", error=FAILS)))

    [job] = machine.last.jobs
    assert job.attempt == 1


def test_a_step_error_beside_new_ops_keeps_both() -> None:
    machine = Machine()

    machine.reply(ops(op("StepRun", "a", data=1), op("StepError", "b", error=FAILS), op("StepPlanned", "c")))

    assert machine.memo("a") == b'{"data":1}'
    assert machine.waiting() == [("discover", "step"), ("step", "c")]
    [retry] = machine.discoveries()
    assert retry.attempt == 1


def test_an_error_of_a_step_that_is_done_changes_nothing() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "a"), op("StepPlanned", "b"), version=1))
    machine.reply(ops(op("StepRun", "a", data=1), version=1), machine.job_of("a"))

    machine.reply(ops(op("StepError", "a", error=FAILS), version=1), machine.discoveries()[0])

    assert machine.memo("a") == b'{"data":1}'
    assert machine.waiting() == [("step", "b")]


def test_a_call_of_a_targeted_step_that_fails_as_a_whole_fails_the_run_in_the_end() -> None:
    machine = Machine(function_of(retries=1))
    machine.reply(ops(op("StepPlanned", "a"), op("StepPlanned", "b")))

    machine.reply(error(), machine.job_of("a"))
    assert machine.job_of("a").attempt == 1

    machine.reply(error("proxy down"), machine.job_of("a"))
    assert machine.run.status is RunStatus.FAILED
    assert machine.jobs == []


def test_an_error_of_the_run_itself_is_tried_again() -> None:
    """Checkpointing SDKs report the function's own error as a StepError of ``complete``."""
    machine = Machine(function_of(retries=1))

    machine.reply(ops(op("StepError", id=COMPLETE, error=FAILS)))
    assert machine.jobs[0].attempt == 1

    machine.reply(ops(op("StepError", id=COMPLETE, error=FAILS)))
    assert machine.run.status is RunStatus.FAILED
    assert machine.run.output is not None
    assert msgspec.json.decode(machine.run.output) == FAILS


# -- errors, normalised ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "name", "message", "stack"),
    [
        ({"name": "E", "message": "m", "stack": "s"}, "E", "m", "s"),
        (
            {"__serialized": True, "name": "Error", "message": "boom", "stack": "Error: boom"},
            "Error",
            "boom",
            "Error: boom",
        ),
        ({"code": "unknown", "message": "boom", "name": "ValueError"}, "ValueError", "boom", None),
        ({"message": "boom"}, "Error", "boom", None),
        ({}, "Error", "fallback", None),
        ({"name": None, "message": 3, "stack": []}, "Error", "fallback", None),
        ({"name": "", "message": "", "stack": ""}, "Error", "fallback", None),
        ('{"name":"E","message":"m"}', "E", "m", None),
        ("plain text", "Error", "plain text", None),
        ('"quoted"', "Error", '"quoted"', None),
        ("[1]", "Error", "[1]", None),
        ("", "Error", "fallback", None),
        (None, "Error", "fallback", None),
        ([1, 2], "Error", "fallback", None),
        ("[" * 5000, "Error", "[" * 5000, None),
        (7, "Error", "fallback", None),
    ],
)
def test_whatever_is_reported_becomes_a_standard_error(raw: Any, name: str, message: str, stack: str | None) -> None:
    found = standard_error(raw, fallback="fallback")

    assert (found.name, found.message, found.stack) == (name, message, stack)


def test_an_error_keeps_cause_and_data_and_drops_the_rest() -> None:
    machine = Machine()
    reported = {**FAILS, "cause": {"b": [1], "a": None}, "data": 5, "code": "x", "__serialized": True, "extra": 1}

    machine.reply(ops(op("StepFailed", "a", error=reported)))

    assert (
        machine.memo("a")
        == (
            '{"error":{"cause":{"a":null,"b":[1]},"data":5,"message":"no stock","name":"ValueError",'
            '"stack":"Traceback …"}}'
        ).encode()
    )


def test_a_lone_surrogate_in_an_error_does_no_harm() -> None:
    machine = Machine()

    machine.reply(ops(op("StepFailed", "a", error={"name": "E", "message": "bad \ud800", "cause": "\udfff"})))

    memo = machine.memo("a")
    assert memo is not None
    assert msgspec.json.decode(memo) == {"error": {"name": "E", "message": "bad ?"}}
