"""Which functions an event starts (protocol 2.5), and what is made for them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec
import pytest

from stepwell.engine.core.model import Function, JobKind, RunStatus
from stepwell.engine.core.trigger import Registry, internal_event, invoked_event, new_run, start
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
