"""Waits for events and signals, invoked functions, and what ends a run from outside (protocol 4.8, 4.11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.change import Policy
from stepwell.engine.core.fetch import Fetched, FetchFailed
from stepwell.engine.core.jobs import timeout_job
from stepwell.engine.core.model import ErrorBody, Job, JobKind, Outcome, RunStatus, WaitKind
from stepwell.engine.core.partition import TIMERS
from tests.unit.engine.making import Machine, event_of, function_of, op, ops, result, step_id


def waiting(opts: dict[str, Any], code: str = "WaitForEvent", **machine: Any) -> Machine:
    """Drive a run up to a wait."""
    made = Machine(event=event_of(data={"k": 7}), **machine)
    made.reply(ops(op(code, "w", opts=opts)))
    return made


def test_a_wait_is_a_job_due_at_its_time_out_and_a_row_by_which_events_find_it() -> None:
    machine = waiting({"event": "x", "timeout": "1m", "if": "async.data.k == event.data.k"})

    [job], [wait] = machine.jobs, machine.last.waits
    assert (job.kind, job.partition, job.due_at) == (JobKind.WAIT, TIMERS, machine.now + 60_000)
    assert (wait.kind, wait.name, wait.job_id, wait.value) == (WaitKind.EVENT, "x", job.id, "7")
    assert (wait.expires_at, wait.since, wait.trigger_id) == (job.due_at, None, machine.event.id)


def test_a_wait_that_times_out_becomes_null_and_one_that_was_resolved_its_event() -> None:
    for memo in (None, b'{"name":"x"}'):
        machine = waiting({"event": "x", "timeout": "1m"})
        [job] = machine.jobs
        machine.fire(msgspec.structs.replace(job, memo=memo))

        assert machine.memo("w") == (memo or b"null")
        assert machine.waiting() == [("discover", "step")]


def test_a_wait_that_looks_back_does_so_to_the_start_of_the_run() -> None:
    [wait] = waiting({"event": "x", "timeout": "1m", "since": "run_start"}).last.waits

    assert wait.since == wait.created_at - 10


def test_a_wait_whose_condition_can_never_hold_only_times_out() -> None:
    machine = waiting({"event": "x", "timeout": "1m", "if": "event.data.k == 8 && async.data.n == 1"})

    assert machine.last.waits == ()
    assert machine.waiting() == [("wait", "w")]


@pytest.mark.parametrize(
    ("code", "opts", "reason"),
    [
        ("WaitForEvent", {"event": "x\0y", "timeout": "1m"}, "InvalidOp"),
        ("WaitForEvent", {"event": "x", "timeout": "soon"}, "InvalidTimeout"),
        ("WaitForEvent", {"event": "x", "timeout": "400d"}, "InngestErrTimeoutTooLong"),
        ("WaitForEvent", {"event": "x", "timeout": "1m", "if": "async.data."}, "InvalidExpression"),
        ("WaitForSignal", {"signal": "x\0y", "timeout": "1m"}, "InvalidOp"),
        ("InvokeFunction", {"payload": {}}, "InvalidOp"),
        ("InvokeFunction", {"function_id": "f", "payload": {"data": [1]}}, "InvalidOp"),
    ],
)
def test_a_wait_that_says_nothing_fails_the_run(code: str, opts: dict[str, Any], reason: str) -> None:
    machine = waiting(opts, code)

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, reason)
    assert machine.jobs == []


def test_a_wait_for_a_signal_says_what_it_does_with_others() -> None:
    [wait] = waiting({"signal": "s", "timeout": "1m", "conflict": "replace", "keep": True}, "WaitForSignal").last.waits

    assert (wait.kind, wait.name, wait.is_replacing, wait.takes_kept) == (WaitKind.SIGNAL, "s", True, True)


def test_a_signal_that_another_run_waits_for_fails_the_run() -> None:
    machine = waiting({"signal": "s", "timeout": "1m"}, "WaitForSignal", policy=Policy(conflicting=frozenset(["s"])))

    assert machine.run.reason == "SignalConflict"


def test_an_invocation_names_the_function_and_waits_for_its_end() -> None:
    payload = {"data": {"n": 1}, "user": {"id": 2}, "v": "3"}
    machine = waiting({"function_id": "app-g", "payload": payload, "timeout": "5m"}, "InvokeFunction")

    [job], [invocation] = machine.jobs, machine.last.invocations
    assert (invocation.slug, invocation.data, invocation.user, invocation.v) == ("app-g", b'{"n":1}', b'{"id":2}', "3")
    assert (invocation.step_id, invocation.expires_at) == (step_id("w"), job.due_at)
    machine.fire(job)
    assert b"InngestInvokeTimeoutError" in (machine.memo("w") or b"")


def test_a_pending_wait_that_is_reported_again_is_not_opened_twice() -> None:
    machine = Machine()
    wait = op("WaitForEvent", "w", opts={"event": "x", "timeout": "1m"})
    machine.reply(ops(wait, op("StepPlanned", "p"), version=1))
    machine.reply(ops(op("StepRun", "p"), version=1), machine.job_of("p"))

    machine.reply(ops(wait, version=1), machine.discoveries()[0])

    assert machine.last.waits == ()
    assert machine.waiting() == [("wait", "w")]


def guarded(which: str) -> tuple[Machine, Job]:
    machine = Machine(function_of(timeouts={which: "1m"}))
    job = timeout_job(machine.run, which, due_at=machine.now + 60_000, at=machine.now)
    machine.state.put(job)
    return machine, job


def test_a_run_that_has_not_started_in_time_is_cancelled_and_one_that_has_goes_on() -> None:
    machine, job = guarded("start")
    machine.guard(job)
    assert (machine.run.status, machine.run.reason) == (RunStatus.CANCELLED, "start_timeout")

    machine, job = guarded("start")
    machine.reply(ops(op("Sleep", "z", value="1h")), machine.discoveries()[0])
    machine.guard(job)
    assert machine.run.status is RunStatus.RUNNING
    assert machine.waiting() == [("timer", "z")]


def test_a_run_that_has_not_ended_in_time_is_cancelled() -> None:
    machine = Machine(function_of(timeouts={"finish": "1m"}))
    machine.reply(ops(op("Sleep", "z", value="1h")))
    [guard] = [job for job in machine.jobs if job.kind is JobKind.TIMEOUT]

    machine.guard(guard)

    assert (machine.run.status, machine.run.reason) == (RunStatus.CANCELLED, "finish_timeout")
    assert machine.jobs == []


def test_a_guard_does_not_keep_a_run_that_nothing_brings_on() -> None:
    machine = Machine(function_of(timeouts={"finish": "1m"}, retries=0))
    machine.reply(ops(op("StepRun", "a")))

    machine.reply(ops(), machine.discoveries()[0])

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "nothing_to_do")


def test_the_end_of_a_run_takes_its_waits_with_it() -> None:
    machine = Machine()
    machine.reply(ops(op("WaitForEvent", "w", opts={"event": "x", "timeout": "1m"}), op("StepPlanned", "p"), version=1))
    machine.reply(result(), machine.job_of("p"))

    assert machine.last.has_waits
    assert machine.jobs == []


def test_a_fetch_is_tried_again_where_it_may_and_becomes_its_step() -> None:
    machine = Machine(function_of(retries=1))
    machine.reply(ops(op("Gateway", "g", opts={"url": "https://x.test"})))
    [job] = machine.jobs
    assert (job.kind, job.payload) == (JobKind.FETCH, b'{"url":"https://x.test"}')

    machine.settle_fetch(job, FetchFailed(ErrorBody(name="Error", message="no"), is_retriable=True))
    assert machine.outcome() is Outcome.ERROR
    [step] = machine.settle_fetch(machine.jobs[0], Fetched(b'{"data":1}', original=b"1.00")).steps

    assert machine.memo("g") == b'{"data":1}'
    assert step.original == b"1.00"
    assert machine.waiting() == [("discover", "step")]
