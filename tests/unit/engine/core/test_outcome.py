"""What became of an event at each function."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.model import Gathering, GatherKind, Run, RunStatus
from stepwell.engine.core.outcome import FunctionOutcome, OutcomeKind, near_names, outcomes
from stepwell.engine.core.trigger import Registry
from stepwell.protocol.ids import RunId
from stepwell.protocol.sync import Trigger
from tests.unit.engine.making import DEV, T0, event_of, function_of, ulid

F = function_of()


def run_of(number: int = 1, status: RunStatus = RunStatus.RUNNING, **more: Any) -> Run:
    run = Run(
        id=RunId(ulid(number, "R")),
        environment=DEV,
        function_id=F.id,
        function_version=1,
        event_id=event_of().id,
        queued_at=T0,
        status=status,
    )
    return msgspec.structs.replace(run, **more)


def gathering_of(kind: GatherKind, count: int = 1) -> Gathering:
    return Gathering(RunId(ulid(9, "R")), DEV, F.id, kind, "k", 0, T0, T0 + 60_000, count, 1)


def became(*, triggers: list[Trigger] | None = None, is_archived: bool = False, **known: Any) -> list[FunctionOutcome]:
    function = function_of(triggers=triggers if triggers is not None else [Trigger(event="a")], is_archived=is_archived)
    registry = Registry(DEV, 1, [function])
    given: dict[str, Any] = {"runs": [], "gatherings": [], "gathered": []}
    return outcomes(event_of(data={"n": 1}), registry, **given | known)


@pytest.mark.parametrize(
    ("known", "kind", "text"),
    [
        ({"runs": [run_of()]}, OutcomeKind.STARTED, f"it started run {ulid(1, 'R')}, which is running"),
        (
            {"runs": [run_of(status=RunStatus.SKIPPED, reason="rate_limited")]},
            OutcomeKind.SKIPPED,
            "it was skipped: the function's rate limit had no room for it",
        ),
        (
            {"gatherings": [gathering_of(GatherKind.BATCH, 2)]},
            OutcomeKind.GATHERED,
            "it waits in a batch of 2 events, until 2026-01-01T00:01:00.000Z, or until that is full",
        ),
        (
            {"gatherings": [gathering_of(GatherKind.DEBOUNCE)]},
            OutcomeKind.GATHERED,
            "it waits in a debounce, after 1 event, until 2026-01-01T00:01:00.000Z, if no other comes",
        ),
        (
            {"gathered": [run_of(is_batch=True)]},
            OutcomeKind.GATHERED,
            f"it is one of the events of run {ulid(1, 'R')}, which is running",
        ),
        (
            {"gathered": [run_of()]},
            OutcomeKind.GATHERED,
            f"a later event of its debounce started run {ulid(1, 'R')}, which is running",
        ),
        (
            {},
            OutcomeKind.NO_RUN,
            "its trigger matches now, but there is no run: it was registered after the event, or the run was deleted",
        ),
    ],
)
def test_each_outcome_has_its_words(known: dict[str, Any], kind: OutcomeKind, text: str) -> None:
    assert [(outcome.kind, outcome.text) for outcome in became(**known)] == [(kind, text)]


def test_the_first_event_of_a_batch_has_one_outcome() -> None:
    run = run_of(is_batch=True)

    assert [outcome.kind for outcome in became(runs=[run], gathered=[run])] == [OutcomeKind.STARTED]


@pytest.mark.parametrize(
    ("expression", "term"),
    [
        ("event.data.n == 1 && event.data.n > 5", "event.data.n > 5 (event.data.n is 1)"),
        ("event.data.n / 0 == 1", "division by zero"),
        ("event.data.n ==", "event.data.n =="),
    ],
)
def test_the_term_that_failed_is_named(expression: str, term: str) -> None:
    [outcome] = became(triggers=[Trigger(event="a", expression=expression)])

    assert outcome.kind is OutcomeKind.NO_MATCH
    assert outcome.term is not None
    assert term in outcome.term or outcome.term in outcome.text


def test_a_function_of_another_name_has_no_outcome() -> None:
    assert became(triggers=[Trigger(event="b"), Trigger(cron="* * * * *")]) == []


def test_a_function_that_no_app_has_is_said() -> None:
    assert [outcome.kind for outcome in became(is_archived=True)] == [OutcomeKind.ARCHIVED]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("shop/paid", ["shop/Paid"]),
        ("shop.paid", ["shop/Paid"]),
        ("shop/order", ["shop/orders.*", "shop/Paid"]),
        ("nothing like it", []),
    ],
)
def test_names_that_are_nearly_right_are_found_the_likest_first(name: str, near: list[str]) -> None:
    triggers = [Trigger(event="shop/Paid"), Trigger(event="shop/orders.*"), Trigger(cron="* * * * *")]

    assert near_names(name, Registry(DEV, 1, [function_of(triggers=triggers)])) == near
