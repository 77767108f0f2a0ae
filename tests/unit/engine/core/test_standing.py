"""Where a run stands, in words: each thing that a run can have open, from the state that decides when it goes on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.flow import throttle
from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import (
    Attempt,
    BegunStep,
    Function,
    Job,
    JobKind,
    Outcome,
    Pause,
    PauseMode,
    Run,
    RunStatus,
    Wait,
    WaitKind,
)
from stepwell.engine.core.rules import rules_of
from stepwell.engine.core.standing import (
    ReasonKind,
    Seen,
    Standing,
    Surroundings,
    Used,
    limitings,
    reasons,
    summary,
    why_waiting,
)
from stepwell.limits import LINE_COUNTED_MAX, SLEEP_MS_MAX
from stepwell.protocol.ids import DISCOVER, AttemptId, FunctionId, JobId, ReplicaId, RunId, StepId
from stepwell.protocol.sync import ConcurrencyConfig, SingletonConfig, ThrottleConfig
from tests.unit.engine.making import DEV, T0, event_of, function_of, ulid

RUN = Run(
    id=RunId(ulid(1, "R")),
    environment=DEV,
    function_id=FunctionId("id-of-app-f"),
    function_version=1,
    event_id=event_of().id,
    queued_at=T0,
    status=RunStatus.RUNNING,
)
ME = ReplicaId("me")


def job(**more: Any) -> Job:
    fields: dict[str, Any] = {
        "run_id": RUN.id,
        "id": JobId("0.0"),
        "partition": RUN.function_id,
        "kind": JobKind.STEP,
        "step_id": "s",
        "title": "pay",
        "due_at": T0,
        "created_at": T0,
        "max_attempts": 5,
    }
    return Job(**fields | more)


def function_with(**config: Any) -> Function:
    function = function_of()
    return msgspec.structs.replace(function, config=msgspec.structs.replace(function.config, **config))


def around(function: Function | None = None, **more: Any) -> Surroundings:
    function = function or function_of()
    fields: dict[str, Any] = {"is_app_archived": False, "calls_max": 2, "calls_free": 1, "names": {}}
    return Surroundings(function=function, rules=rules_of(function.config), app="shop", **fields | more)


def standing(*jobs: Job, **more: Any) -> Standing:
    return Standing(RUN, event_of(data={"user": "u-1"}).body, jobs, **more)


def said(jobs: Job, known: Standing | None = None, beside: Surroundings | None = None) -> list[tuple[ReasonKind, str]]:
    found = reasons(known or standing(jobs), beside or around(), now=T0)
    assert all(reason.release for reason in found)
    return [(reason.kind, reason.text) for reason in found]


HOUR_TEXT = "2026-01-01T01:00:00.000Z (in 1h)"
HOUR = T0 + 3_600_000


@pytest.mark.parametrize(
    ("waiting", "kind", "text"),
    [
        (job(kind=JobKind.TIMER, due_at=HOUR), ReasonKind.TIMER, f"step 'pay': sleeping until {HOUR_TEXT}"),
        (job(kind=JobKind.TIMER), ReasonKind.QUEUE, "step 'pay': is over: it goes on in a moment"),
        (
            job(kind=JobKind.WAIT, op="WaitForEvent", due_at=HOUR),
            ReasonKind.EVENT,
            f"step 'pay': waits for what can't come any more; it times out at {HOUR_TEXT}",
        ),
        (
            job(kind=JobKind.WAIT, op="WaitForEvent", due_at=HOUR, memo=b"1"),
            ReasonKind.QUEUE,
            "step 'pay': has what it waited for: it goes on in a moment",
        ),
        (
            job(kind=JobKind.WAIT, op="WaitForEvent"),
            ReasonKind.QUEUE,
            "step 'pay': has timed out: it goes on in a moment",
        ),
        (job(kind=JobKind.FETCH), ReasonKind.QUEUE, "step 'pay': its request is made in a moment"),
        (
            job(kind=JobKind.FETCH, owner=ME, leased_at=T0),
            ReasonKind.FETCH,
            "step 'pay': its request is being made: attempt 1 of 5, since 2026-01-01T00:00:00.000Z, by replica me",
        ),
        (
            job(owner=ME, leased_at=T0, attempt=2),
            ReasonKind.CALL,
            "step 'pay': app 'shop' is being called: attempt 3 of 5, since 2026-01-01T00:00:00.000Z, by replica me",
        ),
        (
            job(title="", due_at=HOUR),
            ReasonKind.LATER,
            f"begins at {HOUR_TEXT}, the time that its event has",
        ),
        (job(), ReasonKind.QUEUE, "step 'pay': it is queued, and called in a moment"),
        (
            job(lost_count=1, title=""),
            ReasonKind.QUEUE,
            "the server stopped during the last attempt; it is queued, and called in a moment",
        ),
        (
            job(attempt=1, due_at=HOUR),
            ReasonKind.RETRY,
            f"step 'pay': is tried again: attempt 2 of 5 is due at {HOUR_TEXT}",
        ),
        (
            job(kind=JobKind.TIMEOUT, title="start", due_at=HOUR),
            ReasonKind.DEADLINE,
            f"it is cancelled at {HOUR_TEXT}, unless it has started",
        ),
        (job(kind=JobKind.CANCEL, title="event"), ReasonKind.DEADLINE, "it is cancelled in a moment"),
    ],
)
def test_each_thing_that_is_open_has_its_words(waiting: Job, kind: ReasonKind, text: str) -> None:
    assert said(waiting) == [(kind, text)]


@pytest.mark.parametrize(
    ("name", "said_as"),
    [
        ("it's \N{WOMAN}\u200d\N{PERSONAL COMPUTER}", "'it's \N{WOMAN}\u200d\N{PERSONAL COMPUTER}'"),
        ("\u202eevil\n", r"'\u202eevil\n'"),
    ],
)
def test_names_are_said_as_they_are_unless_they_would_spoil_the_sentence(name: str, said_as: str) -> None:
    [reason] = reasons(standing(job(title=name)), around(), now=T0)
    assert reason.text == f"step {said_as}: it is queued, and called in a moment"


def test_a_retry_names_the_error_of_its_own_step() -> None:
    def failed(step: str, error: bytes) -> Attempt:
        return Attempt(RUN.id, AttemptId(step), step, "", 0, T0, T0, Outcome.ERROR, error)

    failures = [failed("other", b'{"name":"X"}'), failed("s", b'{"name":"Declined","message":"no money"}')]
    retry = job(attempt=1, due_at=HOUR)

    [reason] = reasons(standing(retry, failures=failures), around(is_app_archived=True), now=T0)

    assert reason.error == Seen("Declined", "no money")
    assert reason.text.startswith("step 'pay': is tried again after Declined: no money: attempt 2 of 5")
    assert "app 'shop' was removed" in reason.text


def test_a_call_that_is_made_again_for_a_step_names_that() -> None:
    def failed(step: str, retry_at: int, error: bytes) -> Attempt:
        return Attempt(RUN.id, AttemptId(step), step, step, 0, T0, T0, Outcome.ERROR, error, retry_at)

    failures = [failed(DISCOVER, T0, b'{"name":"X"}'), failed("pay", HOUR, b'{"name":"Declined","message":"no money"}')]
    retry = job(kind=JobKind.DISCOVER, step_id=DISCOVER, title="", attempt=1, due_at=HOUR)

    [reason] = reasons(standing(retry, failures=failures), around(), now=T0)

    assert (reason.step, reason.error) == ("pay", Seen("Declined", "no money"))
    assert reason.text.startswith("step 'pay': is tried again after Declined: no money: attempt 2 of 5")


def test_an_error_that_is_none_is_left_out() -> None:
    failures = [Attempt(RUN.id, AttemptId("a"), "s", "", 0, T0, T0, Outcome.ERROR, b"<html>")]

    [reason] = reasons(standing(job(attempt=1, due_at=HOUR), failures=failures), around(), now=T0)

    assert reason.error is None


@pytest.mark.parametrize(
    ("path", "value", "rest", "condition"),
    [
        ("", "", None, None),
        ('["data","order"]', '"o-7"', None, 'async.data.order == "o-7"'),
        ("", "", '{"if":"async.data.n > 1","terms":[0],"event":{}}', "async.data.n > 1"),
        ("", "", '{"if":"async.data.n >","terms":[0],"event":{}}', "async.data.n >"),  # of a newer version
    ],
)
def test_an_events_condition_is_said(path: str, value: str, rest: str | None, condition: str | None) -> None:
    waiting = job(kind=JobKind.WAIT, op="WaitForEvent", due_at=HOUR)
    wait = Wait(DEV, RUN.id, waiting.id, WaitKind.EVENT, "paid", path, value, rest, T0, HOUR)

    [reason] = reasons(standing(waiting, waits=[wait]), around(), now=T0)

    assert reason.event is not None
    assert (reason.event.name, reason.event.condition) == ("paid", condition)


def test_an_invoked_run_may_not_be_there_yet() -> None:
    waiting = job(kind=JobKind.WAIT, op="InvokeFunction", due_at=HOUR)
    child = msgspec.structs.replace(RUN, id=RunId(ulid(2, "R")), parent_run_id=RUN.id, parent_step_id=StepId("s"))

    [without] = reasons(standing(waiting), around(), now=T0)
    [reason] = reasons(standing(waiting, children=[child]), around(names={RUN.function_id: "app-g"}), now=T0)

    assert (without.run, "isn't there yet" in without.text) == (None, True)
    assert reason.run is not None
    assert (reason.run.id, reason.run.function) == (child.id, "app-g")


@pytest.mark.parametrize(("lasts_ms", "is_said"), [(SLEEP_MS_MAX, False), (SLEEP_MS_MAX - 1, True)])
def test_a_time_out_that_nobody_asked_for_is_not_said(lasts_ms: int, is_said: bool) -> None:
    waiting = job(kind=JobKind.WAIT, op="InvokeFunction", due_at=T0 + lasts_ms)

    [reason] = reasons(standing(waiting), around(), now=T0)

    assert ("times out" in reason.text) is ("time-out" in reason.release) is is_said


# -- what holds a call back -------------------------------------------------------------------------------------------


def limited(function: Function, used: int = 1, before: int = 0, **more: Any) -> list[tuple[ReasonKind, str]]:
    """Say what holds back the first call of a run under a function's rules, each key in use ``used`` times."""
    rules = rules_of(function.config)
    variables = {"event": msgspec.json.decode(event_of(data={"user": "u-1"}).body)}
    partition = rules.partition_of(function.id, variables, is_held=False, now_ms=T0)
    waiting = job(partition=partition, title="")
    keys = {limiting.key: Used(used, (RunId("other"), RUN.id)) for limiting in limitings(partition, function, rules)}
    known = standing(waiting, before={waiting.id: before}, used=keys, **more)
    return said(waiting, known, around(function))


KEYED = function_with(concurrency=ConcurrencyConfig(limit=2, key="event.data.user"))


def test_a_full_limit_names_its_key_and_who_has_it() -> None:
    text = "waits for concurrency of event.data.user = u-1: 2 of 2 calls are under way (run other and others)"

    assert limited(KEYED, used=2) == [(ReasonKind.LIMIT, text)]


def test_a_limit_with_room_holds_nothing_back() -> None:
    assert [kind for kind, _ in limited(KEYED, used=1)] == [ReasonKind.QUEUE]


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (0, ""),
        (1, "; 1 is before it in line"),
        (LINE_COUNTED_MAX, "; 1,000 are before it in line"),
        (LINE_COUNTED_MAX + 1, "; more than 1,000 are before it in line"),
    ],
)
def test_a_place_in_line_is_said_as_far_as_it_is_counted(before: int, text: str) -> None:
    [(_, found)] = limited(KEYED, used=2, before=before)

    assert found.endswith(f"(run other and others){text}")


def test_a_rule_that_is_gone_limits_nothing() -> None:
    partition = rules_of(KEYED.config).partition_of(
        KEYED.id, {"event": {"data": {"user": "u-1"}}}, is_held=False, now_ms=T0
    )

    assert limitings(partition, function_of(), rules_of(function_of().config)) == []


def test_a_key_that_can_not_be_evaluated_says_so() -> None:
    function = function_with(concurrency=ConcurrencyConfig(limit=1, key="event.data.user - 1"))

    [(_, text)] = limited(function)

    assert "event.data.user - 1 = (it can't be evaluated)" in text


def test_a_singleton_waits_for_the_run_that_it_replaces() -> None:
    function = function_with(singleton=SingletonConfig(mode="cancel"))

    assert [kind for kind, _ in limited(function, used=1)] == [ReasonKind.QUEUE]  # its own place
    assert limited(function, used=2) == [
        (ReasonKind.SINGLETON, "waits for the end of the run that it replaces (run other)")
    ]


def test_a_throttle_says_the_next_start() -> None:
    function = function_with(throttle=ThrottleConfig(limit=1, period="1h"))
    state, *_ = throttle(None, limit=1, period_ms=3_600_000, burst=1, now=T0, wanted=1)
    [limiting] = limitings(
        rules_of(function.config).partition_of(function.id, {"event": {}}, is_held=False, now_ms=T0),
        function,
        rules_of(function.config),
    )

    free = limited(function)
    held = limited(function, before=1, throttles={limiting.key: state})

    assert [kind for kind, _ in free] == [ReasonKind.QUEUE]
    text = f"waits for its throttle (1 starts in 1h): the next start is at {HOUR_TEXT}; 1 is before it in line"
    assert held == [(ReasonKind.THROTTLE, text)]


@pytest.mark.parametrize(
    ("mode", "is_stopped", "partition", "is_paused"),
    [
        (PauseMode.HOLD, False, "f|h", True),
        (PauseMode.HOLD, False, "f", False),  # it was queued before
        (PauseMode.DROP, False, "f|h", False),
        (PauseMode.DROP, True, "f", True),
    ],
)
def test_a_pause_holds_what_it_is_for(mode: PauseMode, is_stopped: bool, partition: str, is_paused: bool) -> None:
    function = msgspec.structs.replace(function_of(), pause=Pause(T0, mode, is_stopped))

    [(kind, _)] = said(job(partition=partition), beside=around(function))

    assert (kind is ReasonKind.PAUSE) == is_paused


def test_an_app_whose_calls_are_all_under_way_is_named() -> None:
    [(kind, text)] = said(job(title=""), beside=around(calls_free=0))

    assert (kind, text) == (
        ReasonKind.SLOTS,
        "is queued: all 2 calls to app 'shop' that this replica may make are under way",
    )


# -- in one line ------------------------------------------------------------------------------------------------------


def test_a_row_of_a_timeline_leaves_out_the_steps_name() -> None:
    asleep, called = job(kind=JobKind.TIMER, due_at=HOUR), job(owner=ME, leased_at=T0)

    assert why_waiting(asleep, standing(asleep), around(), now=T0) == f"sleeping until {HOUR_TEXT}"
    assert why_waiting(called, standing(called), around(), now=T0) is None


@pytest.mark.parametrize(
    ("status", "reason", "text"),
    [
        (RunStatus.COMPLETED, None, "its function returned at 2026-01-01T01:00:00.000Z"),
        (RunStatus.FAILED, "function_error", "it failed at 2026-01-01T01:00:00.000Z: E: no"),
        (RunStatus.CANCELLED, "api", "it was cancelled by the API at 2026-01-01T01:00:00.000Z"),
        (RunStatus.CANCELLED, "new", "it was cancelled (new) at 2026-01-01T01:00:00.000Z"),
        (RunStatus.SKIPPED, "paused", "it was not started: the function was paused, and drops new runs meanwhile"),
        (RunStatus.SKIPPED, "new", "it was not started: new"),
    ],
)
def test_an_end_is_said(status: RunStatus, reason: str | None, text: str) -> None:
    run = msgspec.structs.replace(RUN, status=status, reason=reason, ended_at=HOUR)

    assert summary(run, [], Seen("E", "no")) == text


def test_a_run_that_nothing_brings_on_says_who_mends_it() -> None:
    guard = job(kind=JobKind.TIMEOUT, title="finish", due_at=HOUR)

    assert "stepwell doctor" in summary(RUN, reasons(standing(guard), around(), now=T0), None)


def test_the_step_that_a_call_is_at_is_named() -> None:
    call = job(title="", owner=ME, leased_at=T0, generation=3)
    begun = BegunStep(RUN.id, attempt_id(call), StepId("x"), "pay", T0 - 12_000)
    since = "2025-12-31T23:59:48.000Z"
    other = job(id="9.9", owner=ME, leased_at=T0)

    assert said(call, standing(call, other, begun=begun)) == [
        (
            ReasonKind.CALL,
            f"step 'pay' has been running since {since} (for 12s): attempt 1 of 5, in app 'shop', by replica me",
        ),
        (
            ReasonKind.CALL,
            "step 'pay': app 'shop' is being called: attempt 1 of 5, since 2026-01-01T00:00:00.000Z, by replica me",
        ),
    ]
