"""The run machine: what each reply makes of a run (protocol 4.6 to 4.11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.model import JobKind, Outcome, RunStatus
from stepwell.engine.core.run import fail_lost
from stepwell.limits import LOST_ATTEMPTS_MAX, PLACE_KEPT_MS
from stepwell.protocol.canonical import encode
from stepwell.protocol.ids import COMPLETE, DISCOVER
from tests.unit.engine.making import T0, Machine, error, event_of, function_of, op, ops, result, step_id


def test_a_run_begins_with_one_discovery() -> None:
    machine = Machine()

    assert machine.run.status is RunStatus.QUEUED
    assert machine.waiting() == [("discover", "step")]
    [job] = machine.jobs
    assert (job.attempt, job.max_attempts, job.stack_current, job.due_at) == (0, 5, 0, T0)


def test_a_result_completes_the_run() -> None:
    machine = Machine()

    machine.reply(result(b'{"ok":true}'))

    assert machine.run.status is RunStatus.COMPLETED
    assert machine.run.output == b'{"ok":true}'
    assert (machine.run.started_at, machine.run.ended_at) == (T0, T0 + 10)
    assert machine.jobs == []
    assert machine.outcome() is Outcome.OK


def test_the_exchange_of_the_protocol_runs_to_its_end() -> None:
    """Protocol 4.12: a step, a sleep, a result."""
    machine = Machine()

    machine.reply(ops(op("StepRun", "a", data=1)))
    assert machine.waiting() == [("discover", "step")]
    assert machine.jobs[0].stack_current == 1

    machine.reply(ops(op("Sleep", "nap", value="1s")))
    [timer] = machine.jobs
    assert (timer.kind, timer.due_at) == (JobKind.TIMER, machine.now + 1000)

    machine.fire(timer)
    assert machine.state.stack == [step_id("a"), step_id("nap")]
    assert machine.state.steps_sorted == sorted(
        [b'"%b":{"data":1}' % step_id("a").encode(), b'"%b":null' % step_id("nap").encode()]
    )
    assert machine.jobs[0].stack_current == 2

    machine.reply(result(b"1"))
    assert (machine.run.status, machine.run.output) == (RunStatus.COMPLETED, b"1")


# -- ops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "data", "memo"),
    [
        ("StepRun", {"b": 1, "a": [None, "x"]}, b'{"data":{"a":[null,"x"],"b":1}}'),
        ("StepRun", None, b'{"data":null}'),
        ("steprun", 1.0, b'{"data":1}'),
        ("STEPRUN", "é\n", '{"data":"é\\n"}'.encode()),
        ("Step", {"b": 1, "a": 2}, b'{"a":2,"b":1}'),
    ],
)
def test_a_step_result_is_remembered_and_followed_by_a_discovery(code: str, data: object, memo: bytes) -> None:
    machine = Machine()

    machine.reply(ops(op(code, "s", data=data)))

    assert machine.memo("s") == memo
    assert machine.state.stack == [step_id("s")]
    assert machine.waiting() == [("discover", "step")]
    [step] = machine.last.steps
    assert (step.position, step.title, step.started_at, step.ended_at) == (0, "s", T0, T0 + 10)
    attempt = machine.last.attempt
    assert attempt is not None
    assert (attempt.step_id, attempt.title, attempt.outcome) == (step_id("s"), "s", Outcome.OK)
    assert step.attempt_id == attempt.id


def test_a_number_beyond_2_to_the_53rd_is_kept_as_it_came() -> None:
    machine = Machine()

    machine.reply(ops(op("StepRun", "s", data=2**63)))

    [step] = machine.last.steps
    assert step.memo == b'{"data":9223372036854776000}'
    assert step.original == b"9223372036854775808"


def test_a_planned_step_gets_a_targeted_call_with_its_own_attempts() -> None:
    machine = Machine(function_of(retries=2))
    machine.reply(error())  # the discovery has failed once

    machine.reply(ops(op("StepPlanned", "s")))

    [job] = machine.jobs
    assert (job.kind, job.step_id, job.title, job.attempt, job.max_attempts) == (
        JobKind.STEP,
        step_id("s"),
        "s",
        0,
        3,
    )
    assert machine.state.is_pending(step_id("s"))


def test_a_targeted_result_is_followed_by_a_discovery() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "s")))

    machine.reply(ops(op("StepRun", "s", data=1)))

    assert machine.memo("s") == b'{"data":1}'
    assert machine.waiting() == [("discover", "step")]
    assert not machine.state.is_pending(step_id("s"))


@pytest.mark.parametrize(
    ("opts", "value", "wakes_after_ms"),
    [
        (None, "1h", 3_600_000),
        ({}, "1m30s", 90_000),
        ({"duration": "10s"}, "nap", 10_000),
        ({"duration": "10s"}, "1h", 10_000),
        ({"duration": None}, "2s", 2_000),
        (None, "1.5s", 1_500),
        (None, "2026-01-01T00:01:00.000Z", 59_990),
        (None, "2026-01-01T01:01:00+01:00", 59_990),
        (None, "2026-01-01T00:01:00.250000Z", 60_240),
        (None, "0s", 0),
        # TypeScript 3 writes a sleep of less than a second as no time at all.
        (None, "", 0),
        ({"duration": ""}, "", 0),
        (None, "366d", 366 * 86_400_000),
        # A time in the past fires now.
        (None, "2025-12-31T23:59:59Z", -1_010),
    ],
)
def test_a_sleep_ends_when_it_says(opts: object, value: str, wakes_after_ms: int) -> None:
    machine = Machine()

    machine.reply(ops(op("Sleep", "nap", opts=opts, value=value)))

    [timer] = machine.jobs
    assert timer.due_at - machine.now == wakes_after_ms
    assert timer.title == "nap"

    machine.fire(timer)
    assert machine.memo("nap") == b"null"
    [step] = machine.last.steps
    assert (step.op, step.started_at, step.title) == ("Sleep", T0 + 10, "nap")
    assert machine.waiting() == [("discover", "step")]


@pytest.mark.parametrize("value", ["tomorrow", "-1s", "10", "1 fortnight", "2026-13-01T00:00:00Z", "9" * 400 + "d"])
def test_a_sleep_that_is_neither_duration_nor_time_fails_the_run(value: str) -> None:
    machine = Machine()

    machine.reply(ops(op("Sleep", "nap", value=value)))

    assert machine.run.status is RunStatus.FAILED
    assert machine.run.reason == "InvalidSleep"


@pytest.mark.parametrize("value", ["366d1ms", "367d", "9999-12-31T23:59:59Z"])
def test_a_sleep_over_366_days_fails_the_run(value: str) -> None:
    machine = Machine()

    machine.reply(ops(op("Sleep", "nap", value=value)))

    assert machine.run.status is RunStatus.FAILED
    assert machine.run.reason == "InngestErrTimeoutTooLong"
    assert machine.outcome() is Outcome.FAILED


def test_a_run_complete_ends_the_run_after_the_ops_before_it() -> None:
    machine = Machine()

    machine.reply(
        ops(
            op("StepRun", "a", data=1),
            op("StepRun", "b", data=2),
            op("RunComplete", id=COMPLETE, data={"b": 1, "a": 2}),
            op("StepRun", "c", data=3),
        )
    )

    assert machine.run.status is RunStatus.COMPLETED
    assert machine.run.output == b'{"a":2,"b":1}'
    assert machine.state.stack == [step_id("a"), step_id("b")]
    assert machine.jobs == []


def test_a_step_error_beside_a_run_complete_is_not_tried_again() -> None:
    machine = Machine()

    machine.reply(ops(op("StepError", "a", error={}), op("RunComplete", id=COMPLETE, data=1)))

    assert machine.run.status is RunStatus.COMPLETED
    assert machine.jobs == []
    attempt = machine.last.attempt
    assert attempt is not None
    assert (attempt.outcome, attempt.retry_at) == (Outcome.FAILED, None)


def test_ops_of_a_reply_are_taken_in_order() -> None:
    machine = Machine()

    machine.reply(ops(op("StepRun", "b", data=1), op("StepRun", "a", data=2), op("Sleep", "nap", value="1s")))

    assert machine.state.stack == [step_id("b"), step_id("a")]
    assert [step.position for step in machine.last.steps] == [0, 1]
    assert machine.waiting() == [("timer", "nap")]  # the group's last op is followed by the discovery


def test_a_discovery_request_leads_to_a_discovery() -> None:
    machine = Machine()

    machine.reply(ops(op("DiscoveryRequest", "d")))

    assert machine.run.status is RunStatus.RUNNING
    assert machine.waiting() == [("discover", "step")]
    assert machine.jobs[0].attempt == 0


def test_a_step_that_is_not_found_is_tried_again() -> None:
    machine = Machine(function_of(retries=1))
    machine.reply(ops(op("StepPlanned", "s")))

    machine.reply(ops(op("StepNotFound", "s")))

    assert machine.waiting() == [("step", "s")]
    assert machine.jobs[0].attempt == 1

    machine.reply(ops(op("StepNotFound", "s")))

    assert machine.run.status is RunStatus.FAILED
    assert machine.run.output is not None
    assert "code changed" in machine.run.output.decode()


@pytest.mark.parametrize("code", ["DeferAdd", "DeferAbort", "SyncRunComplete", "Nonsense"])
def test_an_op_that_the_server_cannot_do_fails_the_run_and_says_so(code: str) -> None:
    machine = Machine()

    machine.reply(ops(op(code, "s")))

    assert machine.run.status is RunStatus.FAILED
    assert machine.run.reason == "UnsupportedOp"
    assert machine.run.output is not None
    assert code in machine.run.output.decode()


@pytest.mark.parametrize("id", ["", "a b", "x" * 65, '"', "é", "a\n"])
def test_a_step_id_that_is_none_fails_the_run(id: str) -> None:
    machine = Machine()

    machine.reply(ops(op("StepRun", id=id)))

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "InvalidOp")


# -- empty replies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [[], [op("None")]])
def test_an_empty_answer_to_a_targeted_call_leads_to_a_discovery(members: list[Any]) -> None:
    """Protocol 4.6: when nothing else of the run is pending, a fresh discovery is made, or the run hangs."""
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "s")))

    machine.reply(ops(*members))

    assert machine.waiting() == [("discover", "step")]
    assert machine.run.status is RunStatus.RUNNING


@pytest.mark.parametrize("members", [[], [op("StepRun", "a", data=2)]])
def test_a_discovery_that_asks_for_nothing_while_nothing_is_pending_is_an_error(members: list[Any]) -> None:
    """Calling again at once would go on for ever; as an error it is tried again with growing delays, then fails."""
    machine = Machine(function_of(retries=1))
    machine.reply(ops(op("StepRun", "a", data=1)))

    machine.reply(ops(*members))

    assert machine.outcome() is Outcome.ERROR
    [job] = machine.jobs
    assert (job.kind, job.attempt) == (JobKind.DISCOVER, 1)
    assert job.due_at == machine.now + 15_000

    machine.reply(ops(*members))

    assert (machine.run.status, machine.run.reason) == (RunStatus.FAILED, "nothing_to_do")
    assert machine.memo("a") == b'{"data":1}'


def test_an_empty_answer_changes_nothing_while_others_are_pending() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "a"), op("StepPlanned", "b"), version=1))
    machine.reply(ops(op("StepRun", "a", data=1), version=1), machine.job_of("a"))

    machine.reply(ops(version=1), machine.discoveries()[0])

    assert machine.waiting() == [("step", "b")]
    assert machine.run.status is RunStatus.RUNNING


def test_the_last_of_a_group_is_followed_by_a_discovery_even_when_it_brings_nothing() -> None:
    """Else a group whose last call finds its step known would wait for unrelated, perhaps very long, sleeps."""
    machine = Machine()
    race = {"parallelMode": "race"}
    machine.reply(ops(op("StepPlanned", "a"), op("Sleep", "long", value="300d", opts=race)))

    machine.reply(ops(), machine.job_of("a"))

    assert machine.waiting() == [("discover", "step"), ("timer", "long")]


# -- known ops ------------------------------------------------------------------------------------------------------


def test_the_first_result_of_a_step_stays() -> None:
    machine = Machine()
    machine.reply(ops(op("StepRun", "a", data=1)))

    machine.reply(ops(op("StepRun", "a", data=2), op("StepRun", "b", data=3)))

    assert machine.memo("a") == b'{"data":1}'
    assert machine.state.stack == [step_id("a"), step_id("b")]
    assert [step.position for step in machine.last.steps] == [1]


def test_a_step_twice_in_one_reply_counts_once() -> None:
    machine = Machine()

    machine.reply(ops(op("StepRun", "a", data=1), op("StepRun", "a", data=2), op("StepFailed", "a")))

    assert machine.memo("a") == b'{"data":1}'
    assert len(machine.last.steps) == 1


@pytest.mark.parametrize("version", [0, 1, 2])
def test_pending_ops_that_are_reported_again_are_not_begun_twice(version: int) -> None:
    """Protocol 4.10.5."""
    machine = Machine()
    race = {"parallelMode": "race"}
    known = [op("StepPlanned", "a", opts=race), op("StepPlanned", "b", opts=race), op("Sleep", "nap", value="1h")]
    machine.reply(ops(*known, version=version))
    before = [(job.id, job.due_at) for job in machine.jobs]
    machine.reply(ops(op("StepRun", "a", data=1), version=version), machine.job_of("a"))

    [discovery] = machine.discoveries()
    machine.reply(ops(*known, version=version), discovery)

    ids = {job.id for job in machine.jobs}
    assert ids <= {id for id, _ in before}
    assert [job.due_at for job in machine.jobs if job.kind is JobKind.TIMER] == [
        due_at for id, due_at in before if id in ids and due_at > T0
    ]


def test_an_op_twice_in_one_reply_is_begun_once() -> None:
    machine = Machine()

    machine.reply(ops(op("StepPlanned", "a"), op("StepPlanned", "a"), op("Sleep", "a", value="1s")))

    assert machine.waiting() == [("step", "a")]


def test_a_result_of_a_step_that_is_pending_elsewhere_is_taken_and_the_second_one_ignored() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "a"), op("StepPlanned", "b"), version=1))
    machine.reply(ops(op("StepRun", "a", data=1), version=1), machine.job_of("a"))
    machine.reply(ops(op("StepRun", "b", data="inline"), version=1), machine.discoveries()[0])
    assert machine.memo("b") == b'{"data":"inline"}'

    machine.reply(ops(op("StepRun", "b", data="targeted"), version=1), machine.job_of("b"))

    assert machine.memo("b") == b'{"data":"inline"}'
    assert machine.waiting() == [("discover", "step")]


def test_a_sleep_whose_step_got_a_result_meanwhile_ends_without_a_second_one() -> None:
    machine = Machine()
    machine.reply(ops(op("Sleep", "nap", value="1h"), op("StepPlanned", "a"), version=1))
    timer = machine.job_of("nap")
    machine.reply(ops(op("StepRun", "nap", data="odd"), version=1), machine.job_of("a"))

    machine.fire(timer)

    assert machine.memo("nap") == b'{"data":"odd"}'
    assert machine.last.steps == ()
    assert machine.waiting() == [("discover", "step")]


# -- ends -----------------------------------------------------------------------------------------------------------


def drafts(machine: Machine) -> dict[str, Any]:
    """Decode the events that the last transition sends, by name; their data must be canonical."""
    found: dict[str, Any] = {}
    for draft in machine.last.events:
        data = msgspec.json.decode(draft.data)
        assert encode(data) == draft.data
        found[draft.name] = data
    return found


def test_a_completed_run_says_so() -> None:
    machine = Machine(event=event_of(data={"n": 1}, id="order-1"))

    machine.reply(result(b'{"ok":true}'))

    event = msgspec.json.decode(machine.event.body)
    assert drafts(machine) == {
        "inngest/function.finished": {
            "_inngest": {"status": "Completed"},
            "event": event,
            "events": [event],
            "function_id": "app-f",
            "result": {"ok": True},
            "run_id": machine.run.id,
        }
    }


def test_a_failed_run_says_so_twice_once_by_its_own_id() -> None:
    machine = Machine()

    machine.reply(error("boom", no_retry=True))

    found = drafts(machine)
    assert set(found) == {"inngest/function.finished", "inngest/function.failed"}
    assert found["inngest/function.finished"] == found["inngest/function.failed"]
    data = found["inngest/function.failed"]
    assert data["error"] == {"name": "Error", "message": "boom", "error": "NonRetriableError"}
    assert data["result"] == {"message": "boom", "name": "Error"}
    assert data["_inngest"] == {"status": "Failed"}
    assert {draft.name: draft.event_id for draft in machine.last.events} == {
        "inngest/function.finished": None,
        "inngest/function.failed": machine.run.id,
    }


def test_the_error_of_used_up_attempts_names_the_status() -> None:
    machine = Machine(function_of(retries=0))

    machine.reply(error("boom"))

    assert drafts(machine)["inngest/function.failed"]["error"]["error"] == "invalid status code: 500"


def test_the_error_that_the_server_makes_is_named_in_the_event_and_in_the_output() -> None:
    machine = Machine()

    machine.reply(ops(op("Sleep", "nap", value="367d")))

    body = drafts(machine)["inngest/function.failed"]["error"]
    assert body["name"] == "InngestErrTimeoutTooLong"
    assert body["error"] == f"InngestErrTimeoutTooLong: {body['message']}"
    assert machine.run.output is not None
    assert msgspec.json.decode(machine.run.output) == {"error": body}


def test_a_cancelled_run_says_so_without_result_and_error() -> None:
    machine = Machine()
    machine.reply(ops(op("StepPlanned", "a"), op("Sleep", "nap", value="1d")))

    machine.cancel("api")

    assert (machine.run.status, machine.run.reason) == (RunStatus.CANCELLED, "api")
    assert machine.run.output == b"{}"
    assert machine.jobs == []
    found = drafts(machine)
    assert set(found) == {"inngest/function.finished", "inngest/function.cancelled"}
    assert found["inngest/function.cancelled"]["_inngest"] == {"status": "Cancelled"}
    assert not {"result", "error"} & set(found["inngest/function.finished"])


def test_a_queued_run_can_be_cancelled() -> None:
    machine = Machine()

    machine.cancel()

    assert machine.run.status is RunStatus.CANCELLED
    assert machine.run.started_at is None


@pytest.mark.parametrize("name", ["inngest/function.finished", "inngest/function.failed"])
def test_handlers_of_ends_cannot_loop(name: str) -> None:
    for end in (result(), error(no_retry=True)):
        machine = Machine(event=event_of(name=name))

        machine.reply(end)

        assert machine.run.status.is_final
        assert machine.last.events == ()

    machine = Machine(event=event_of(name=name))
    machine.cancel()
    assert machine.last.events == ()


@pytest.mark.parametrize("name", ["inngest/function.cancelled", "inngest/function.invoked", "inngest/scheduled.timer"])
def test_runs_of_other_internal_events_tell_their_end(name: str) -> None:
    """Protocol 2.6 exempts two names only: a failure handler of a function on ``function.cancelled`` has to start."""
    machine = Machine(event=event_of(name=name))

    machine.reply(error(no_retry=True))

    assert [draft.name for draft in machine.last.events] == ["inngest/function.finished", "inngest/function.failed"]


def test_an_event_that_only_mentions_an_end_is_not_about_one() -> None:
    machine = Machine(event=event_of(data={"name": "inngest/function.failed"}))

    machine.reply(result())

    assert [draft.name for draft in machine.last.events] == ["inngest/function.finished"]


def test_ten_lost_attempts_in_a_row_fail_the_run() -> None:
    machine = Machine()
    job = msgspec.structs.replace(machine.lease(), lost_count=LOST_ATTEMPTS_MAX)

    transition = fail_lost(machine.state, job, machine.function, at=machine.now)

    assert (transition.run.status, transition.run.reason) == (RunStatus.FAILED, "attempts_lost")
    assert transition.job is job
    assert transition.attempt is None
    assert [draft.name for draft in transition.events] == ["inngest/function.finished", "inngest/function.failed"]


# -- the shape of transitions ---------------------------------------------------------------------------------------


def test_a_transition_ends_its_job_and_raises_the_version() -> None:
    machine = Machine()
    job = machine.lease()

    transition = machine.answer(job, ops(op("StepRun", "a", data=1)))

    assert transition.job is job
    assert transition.run.version == 1
    assert machine.run.version == 1


def test_advance_does_not_touch_the_state() -> None:
    machine = Machine()
    machine.reply(ops(op("StepRun", "a", data=1)))
    job = machine.lease()
    before = (machine.run, dict(machine.state.memo), list(machine.state.stack), dict(machine.state.jobs))

    first = machine.compute(job, ops(op("StepRun", "b", data=1), op("StepPlanned", "c")), took_ms=0)
    second = machine.compute(job, ops(op("StepRun", "b", data=1), op("StepPlanned", "c")), took_ms=0)

    assert first == second
    assert (machine.run, dict(machine.state.memo), list(machine.state.stack), dict(machine.state.jobs)) == before


def test_a_follow_up_keeps_the_place_of_its_run_in_the_queue() -> None:
    """A run under way isn't overtaken by the burst that it came with."""
    machine = Machine()
    machine.now = T0 + PLACE_KEPT_MS - 1_000

    machine.reply(ops(op("StepRun", "a", data=1)))
    assert machine.jobs[0].due_at == T0

    machine.reply(ops(op("StepPlanned", "b"), op("StepPlanned", "c")))
    assert {job.due_at for job in machine.jobs} == {T0}


def test_a_run_of_long_steps_lets_in_who_has_waited_longer() -> None:
    machine = Machine()
    machine.now = T0 + 60_000

    machine.reply(ops(op("StepRun", "a", data=1)))

    assert machine.jobs[0].due_at == machine.now - PLACE_KEPT_MS


def test_job_ids_are_unique_in_a_run() -> None:
    machine = Machine()
    seen = {machine.jobs[0].id}
    for number in range(3):
        machine.reply(ops(op("StepPlanned", f"a{number}"), op("StepPlanned", f"b{number}"), version=1))
        for name in (f"a{number}", f"b{number}"):
            machine.reply(ops(op("StepRun", name, data=1), version=1), machine.job_of(name))
        new = {job.id for transition in machine.transitions[-3:] for job in transition.jobs}
        assert len(new) == sum(len(transition.jobs) for transition in machine.transitions[-3:])
        assert not new & seen
        seen |= new


def test_the_first_206_fixes_the_request_version() -> None:
    machine = Machine()
    assert machine.run.request_version == -1

    machine.reply(error())
    assert machine.run.request_version == -1

    machine.reply(ops(op("StepRun", "a", data=1), version=1))
    assert machine.run.request_version == 1

    machine.reply(ops(op("StepRun", "b", data=1), version=2))
    assert machine.run.request_version == 1


def test_a_targeted_call_asks_for_one_step_and_a_discovery_for_none() -> None:
    machine = Machine()

    machine.reply(ops(op("StepPlanned", "a")))
    assert machine.jobs[0].step_id == step_id("a")

    machine.reply(ops(op("StepRun", "a", data=1)))
    assert machine.jobs[0].step_id == DISCOVER
