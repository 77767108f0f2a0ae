"""Which functions an event starts (protocol 2.5), and what is made for them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stepwell.engine.core.model import (
    Admission,
    Function,
    Gathering,
    GatherKind,
    JobKind,
    Pause,
    PauseMode,
    RunStatus,
    Start,
    WaitKind,
)
from stepwell.engine.core.partition import HELD, TIMERS, TokenKind, later, parse
from stepwell.engine.core.trigger import (
    Registry,
    internal_event,
    invoked_event,
    new_run,
    start,
    start_again,
    start_gathered,
)
from stepwell.protocol.canonical import NotJson, encode
from stepwell.protocol.ids import RunId
from stepwell.protocol.sync import Trigger
from tests.unit.engine.making import DEV, T0, event_of, function_of, ulid


def registry_of(*functions: Function) -> Registry:
    return Registry(DEV, 7, functions)


def on(*names: str, slug: str = "app-f", when: str | None = None) -> Function:
    return function_of(slug, triggers=[Trigger(event=name, expression=when) for name in names])


def matching(registry: Registry, name: str, data: object = None, *, now: int = T0) -> list[str]:
    event = event_of(name=name, data=data)
    return [function.slug for function in registry.matching(name, event.body, now=now)]


def counter() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: ulid(next(numbers), "N")


@pytest.mark.parametrize(
    ("trigger", "name", "is_started"),
    [
        ("a/b.c", "a/b.c", True),
        ("a/b.*", "a/b.c", True),
        ("a/*", "a/b.c", True),
        ("a/*", "a/b/c", True),
        ("a/b/*", "a/b/c", True),
        ("a.*", "a.b.c", True),
        ("a.b.*", "a.b.c", True),
        ("a/*", "a/", True),
        ("inngest/*", "inngest/function.failed", True),
        ("a/b", "a/b.c", False),
        ("a/b.*", "a/b", False),
        ("a/b.*", "a/bc", False),
        ("a/*", "a", False),
        ("a/*", "b/a/c", False),
        ("a/b.c", "a/b.C", False),
        ("b.*", "a/b.c", False),
    ],
)
def test_a_pattern_is_a_prefix_up_to_a_slash_or_dot(trigger: str, name: str, is_started: bool) -> None:
    registry = registry_of(on(trigger))

    assert matching(registry, name) == (["app-f"] if is_started else [])
    assert registry.has_trigger(name) is is_started


def test_a_function_starts_once_even_when_several_of_its_triggers_match() -> None:
    registry = registry_of(on("a/b.c", "a/*", "a/b.*"))

    assert matching(registry, "a/b.c") == ["app-f"]


def test_every_function_that_subscribes_starts() -> None:
    registry = registry_of(on("a/b", slug="app-1"), on("a/*", slug="app-2"), on("a/c", slug="app-3"))

    assert sorted(matching(registry, "a/b")) == ["app-1", "app-2"]


def test_an_archived_function_does_not_start_but_is_still_known() -> None:
    archived = function_of("app-old", is_archived=True)
    registry = registry_of(archived)

    assert matching(registry, "a") == []
    assert "app-old" not in registry.by_slug
    assert registry.by_id[archived.id] is archived


def test_a_condition_must_hold() -> None:
    registry = registry_of(on("a", when="event.data.n > 1"))

    assert matching(registry, "a", {"n": 2}) == ["app-f"]
    assert matching(registry, "a", {"n": 1}) == []
    assert matching(registry, "a", {}) == []
    assert matching(registry, "a", {"n": "x"}) == []
    assert matching(registry, "b", {"n": 2}) == []


def test_one_of_several_conditions_is_enough() -> None:
    triggers = [Trigger(event="a", expression="event.data.n == 1"), Trigger(event="a", expression="event.data.n == 2")]
    registry = registry_of(function_of(triggers=triggers))

    assert [matching(registry, "a", {"n": n}) for n in (1, 2, 3)] == [["app-f"], ["app-f"], []]


def test_a_condition_that_cannot_be_compiled_never_holds() -> None:
    """It was accepted by an older version of us, say; the others must start all the same."""
    registry = registry_of(on("a", when="event.data.n >", slug="app-1"), on("a", slug="app-2"))

    assert matching(registry, "a", {"n": 2}) == ["app-2"]


def test_functions_without_event_triggers_start_by_no_event() -> None:
    registry = registry_of(function_of(triggers=[]), function_of("app-2", triggers=[Trigger(cron="* * * * *")]))

    assert matching(registry, "a") == []


def test_an_event_starts_a_queued_run_with_a_job_for_each_function() -> None:
    one, two = function_of("app-1", retries=0), function_of("app-2", app="other", version=3)
    event = event_of(ts=T0 - 5)

    intake = start(event, registry_of(one, two), now=T0, new_id=counter())

    assert intake.event is event
    assert [(run.function_id, run.function_version, run.event_id, run.status) for run in intake.runs] == [
        (one.id, 1, event.id, RunStatus.QUEUED),
        (two.id, 3, event.id, RunStatus.QUEUED),
    ]
    assert [(job.run_id, job.partition, job.kind, job.due_at, job.max_attempts) for job in intake.jobs] == [
        (intake.runs[0].id, one.id, JobKind.DISCOVER, T0, 1),
        (intake.runs[1].id, two.id, JobKind.DISCOVER, T0, 5),
    ]
    assert len({run.id for run in intake.runs}) == 2


def test_an_event_of_the_future_delays_its_runs() -> None:
    intake = start(event_of(ts=T0 + 60_000), registry_of(function_of()), now=T0, new_id=counter())

    assert intake.jobs[0].due_at == T0 + 60_000
    assert intake.runs[0].queued_at == T0


def test_a_direct_call_starts_one_function_whatever_the_triggers_say() -> None:
    one, two = on("b", slug="app-1", when="false"), function_of("app-2")

    intake = start(event_of(), registry_of(one, two), now=T0, new_id=counter(), only=one)

    assert [run.function_id for run in intake.runs] == [one.id]


def test_an_event_that_starts_nothing_is_an_intake_all_the_same() -> None:
    intake = start(event_of(name="x"), registry_of(function_of()), now=T0, new_id=counter())

    assert (intake.runs, intake.jobs) == ((), ())


def test_a_rerun_names_the_run_that_it_repeats() -> None:
    run = new_run(event_of(), function_of(), now=T0, run_id=RunId(ulid(2)), partition="", again=RunId(ulid(1)))

    assert run.original_run_id == ulid(1)


def test_an_internal_event_has_the_id_of_its_cause_or_its_own() -> None:
    own = internal_event("inngest/x", b"{}", id=ulid(1), environment=DEV, now=T0)
    caused = internal_event("inngest/x", b"{}", id=ulid(1), environment=DEV, now=T0, event_id="cause")

    assert (own.id, own.event_id, own.is_internal, own.has_own_id) == (ulid(1), ulid(1), True, False)
    assert (caused.id, caused.event_id) == (ulid(1), "cause")
    assert msgspec.json.decode(caused.body) == {"data": {}, "id": "cause", "name": "inngest/x", "ts": T0, "user": {}}


def test_a_direct_call_carries_its_data_and_the_name_of_the_function() -> None:
    event = invoked_event(
        {"n": 1, "_inngest": "forged"}, slug="app-f", id=ulid(1), environment=DEV, now=T0, user={"id": 3}, v="2"
    )

    body = msgspec.json.decode(event.body)
    assert encode(body) == event.body
    assert body["name"] == "inngest/function.invoked"
    assert body["data"]["n"] == 1
    assert body["data"]["_inngest"]["fn_id"] == "app-f"
    assert (body["user"], body["v"], event.is_internal) == ({"id": 3}, "2", True)


def test_a_direct_call_with_data_that_is_no_json_is_refused() -> None:
    with pytest.raises(NotJson):
        invoked_event({"n": float("nan")}, slug="app-f", id=ulid(1), environment=DEV, now=T0)


# -- flow control ---------------------------------------------------------------------------------------------------


def started(function: Function, data: object = None, *, ts: int = T0, now: int = T0) -> Start:
    """Start a function by an event with this data."""
    [found] = start(event_of(data=data, ts=ts), registry_of(function), now=now, new_id=counter()).starts
    return found


def test_a_function_without_flow_control_has_a_plain_start() -> None:
    found = started(function_of())

    assert (found.admission, found.guards, found.waits) == (None, (), ())
    assert found.run.partition == found.job.partition == function_of().id


def test_the_partition_has_a_token_for_each_rule_with_the_value_of_its_key() -> None:
    flow: dict[str, Any] = {
        "concurrency": {"limit": 1, "key": "event.data.k"},
        "throttle": {"limit": 1, "period": "1s"},
    }

    one, two, other = (started(function_of(**flow), {"k": k}) for k in (1, 1, 2))

    kinds = [token.kind for token in parse(one.run.partition).tokens]
    assert kinds == [TokenKind.STEPS, TokenKind.THROTTLE]
    assert one.run.partition == one.job.partition == two.run.partition != other.run.partition


def test_priority_puts_runs_before_others_and_delays_none() -> None:
    function = function_of(priority={"run": "event.data.p"})

    due = {p: started(function, {"p": p}).job.due_at for p in (-1_000, -1, 0, 1, 1_000)}

    assert due == {-1_000: T0, -1: T0 - 599_000, 0: T0 - 600_000, 1: T0 - 601_000, 1_000: T0 - 1_200_000}


def test_an_event_of_the_future_has_no_priority() -> None:
    assert started(function_of(priority={"run": "100"}), ts=T0 + 5_000).job.due_at == T0 + 5_000


def test_a_cancel_rule_is_a_wait_with_the_events_own_values() -> None:
    rule = {"event": "stop", "if": "event.data.k == async.data.k && async.data.n > 2", "timeout": "1h"}

    found = started(function_of(cancel=[rule, {"event": "end"}]), {"k": 7})

    first, second = found.waits
    assert (first.kind, first.name, first.job_id) == (WaitKind.CANCEL, "stop", "cancel.0")
    assert (first.run_id, first.value, first.expires_at) == (found.run.id, "7", T0 + 3_600_000)
    assert first.condition is not None
    assert (second.name, second.job_id, second.path, second.value, second.condition) == (
        "end",
        "cancel.1",
        "",
        "",
        None,
    )
    assert second.expires_at == T0 + 366 * 86_400_000


def test_a_cancel_rule_that_can_never_hold_is_no_wait() -> None:
    rule = {"event": "stop", "if": "event.data.kind == 'x' && async.data.n > 2"}

    assert [len(started(function_of(cancel=[rule]), {"kind": kind}).waits) for kind in ("x", "y")] == [1, 0]


def test_a_run_that_must_start_in_time_has_a_guard() -> None:
    found = started(function_of(timeouts={"start": "10s", "finish": "1m"}), ts=T0 + 5_000)

    [guard] = found.guards
    assert (guard.kind, guard.title, guard.partition) == (JobKind.TIMEOUT, "start", TIMERS)
    assert guard.due_at == T0 + 15_000  # from when it may start


def test_what_is_asked_before_a_start_is_its_admission() -> None:
    found = started(function_of(rateLimit={"limit": 2, "period": "1m"}, singleton={"mode": "skip"}))

    assert found.admission is not None
    assert found.admission.rate is not None
    assert (found.admission.rate.limit, found.admission.rate.period_ms) == (2, 60_000)
    assert found.admission.singleton is not None


@pytest.mark.parametrize("is_stopped", [False, True])
def test_runs_of_a_function_that_is_held_wait_in_a_partition_of_their_own(is_stopped: bool) -> None:
    pause = Pause(T0, PauseMode.HOLD, is_stopped)

    found = started(function_of(pause=pause))

    assert parse(found.run.partition).tokens == (HELD,)
    assert later(found.run.partition) == found.run.function_id
    assert found.admission is None


def test_runs_of_a_function_that_drops_them_are_skipped() -> None:
    found = started(function_of(pause=Pause(T0, PauseMode.DROP, is_stopped=False), idempotency="event.data.k"))

    assert found.admission == Admission(skip_reason="paused")


AGAIN_OF: dict[str, Any] = {
    "rateLimit": {"limit": 1, "period": "1m"},
    "idempotency": "event.data.k",
    "debounce": {"period": "5s"},
}


@pytest.mark.parametrize("pause", [None, Pause(T0, PauseMode.DROP, is_stopped=False)])
def test_a_rerun_is_asked_nothing(pause: Pause | None) -> None:
    function = function_of(pause=pause, **AGAIN_OF)

    found = start_again(
        event_of(data={"k": 1}), function, registry_of(function), now=T0, run_id=RunId(ulid(2)), again=RunId(ulid(1))
    )

    assert found.admission is None
    assert found.run.original_run_id == ulid(1)


@pytest.mark.parametrize("mode", ["skip", "cancel"])
def test_a_rerun_of_a_singleton_is_no_exception(mode: str) -> None:
    function = function_of(singleton={"mode": mode}, **AGAIN_OF)

    found = start_again(
        event_of(data={"k": 1}), function, registry_of(function), now=T0, run_id=RunId(ulid(2)), again=RunId(ulid(1))
    )

    assert found.admission is not None
    assert found.admission == Admission(singleton=found.admission.singleton)
    assert found.admission.singleton is not None


@pytest.mark.parametrize("kind", list(GatherKind))
def test_the_run_of_a_gathering_has_its_id_and_is_asked_only_what_the_events_were_not(kind: GatherKind) -> None:
    function = function_of(singleton={"mode": "skip"}, **AGAIN_OF)
    gathering = Gathering(RunId(ulid(9)), DEV, function.id, kind, "key", 0, T0, T0, 2, 100)

    found = start_gathered(gathering, event_of(data={"k": 1}), function, registry_of(function), now=T0)

    assert found.run.id == ulid(9)
    assert found.run.is_batch == (kind is GatherKind.BATCH)
    assert found.admission is not None
    assert found.admission == Admission(singleton=found.admission.singleton)


def test_flow_control_that_cannot_be_read_limits_nothing() -> None:
    """It was accepted by an older version of us, say."""
    found = started(function_of(concurrency={"limit": 1, "key": "event.data."}))

    assert found.run.partition == function_of().id
