"""Races: who wins, what is said of the others, and what becomes of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import Step, StepUsageError, SyncStep
from stepwell.protocol.ids import DISCOVER, step_hash
from tests.unit.sdk.checkpointing import CheckpointedRun
from tests.unit.sdk.pretend import PretendRun, new_app

EVENT = {"name": "paid", "data": {"n": 1}, "id": "e2", "ts": 1_700_000_000_001, "user": {}}


async def paid_or_late(step: Step) -> Any:
    winner, found = await step.wait_for_any(
        paid=step.wait_for_event("payment", "order.paid", timeout="30d"), late=step.sleep("patience", "3d")
    )
    return [winner, found is None, await step.run("after", lambda: winner)]


def paid_or_late_sync(step: SyncStep) -> Any:
    winner, found = step.wait_for_any(
        paid=lambda: step.wait_for_event("payment", "order.paid", timeout="30d"),
        late=lambda: step.sleep("patience", "3d"),
    )
    return [winner, found is None, step.run("after", lambda: winner)]


@pytest.mark.parametrize("handler", [paid_or_late, paid_or_late_sync], ids=["async", "plain"])
@pytest.mark.parametrize(
    ("first", "winner", "loser"), [("payment", "paid", "patience"), ("patience", "late", "payment")]
)
async def test_the_first_to_end_wins_and_the_other_is_closed_at_once(
    handler: Callable[..., Any], first: str, winner: str, loser: str
) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)
    run = PretendRun(sw, "f", given={"payment": EVENT})
    await run.advance()

    run.wake(first)
    answer = await run.end()

    assert answer.body == [winner, winner == "late", winner]
    assert run.titles == [["WaitForEvent payment", "Sleep patience"], ["StepRun after"], ["200"]]
    assert [op.option("parallelMode") for op in run.answers[0].ops] == ["race", "race"]
    assert run.answers[1].body[0]["opts"] == {"closes": [step_hash(loser)]}


@pytest.mark.parametrize("handler", [paid_or_late, paid_or_late_sync], ids=["async", "plain"])
async def test_the_first_checkpoint_after_a_race_closes_the_others(handler: Callable[..., Any]) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)
    run = CheckpointedRun(sw, "f", given={"payment": EVENT})
    await run.advance()

    run.wake("payment")
    await run.end()

    assert run.titles == [["WaitForEvent payment", "Sleep patience"], ["200"]]
    assert [step.opts for checkpoint in run.checkpoints for step in checkpoint.steps] == [
        {"closes": [step_hash("patience")]}
    ]


async def branches(step: Step) -> Any:
    async def branch(name: str) -> str:
        first = await step.run("load", lambda: name)
        return await step.run("send", lambda: first * 2)

    return await step.wait_for_any(branch("x"), branch("y"))


def branches_sync(step: SyncStep) -> Any:
    def branch(name: str) -> str:
        first = step.run("load", lambda: name)
        return step.run("send", lambda: first * 2)

    return step.wait_for_any(lambda: branch("x"), lambda: branch("y"))


@pytest.mark.parametrize("handler", [branches, branches_sync], ids=["async", "plain"])
@pytest.mark.parametrize("knows_closes", [True, False], ids=["our server", "another"])
@pytest.mark.parametrize("last", [0, 1], ids=["first first", "second first"])
async def test_a_branch_may_have_any_number_of_steps(
    handler: Callable[..., Any], knows_closes: bool, last: int
) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)
    run = PretendRun(sw, "f", pick=lambda n: last * (n - 1), knows_closes=knows_closes)

    assert (await run.end()).body in ([0, "xx"], [1, "yy"])
    assert (await run.call()).body == run.answers[-1].body


@pytest.mark.parametrize("is_plain", [False, True], ids=["async", "plain"])
async def test_a_race_goes_on_without_waiting_for_the_slower_step(is_plain: bool) -> None:
    """Request version 2 waits for all steps that were found together, unless they are raced (protocol 4.10)."""
    sw = new_app()
    ran: list[str] = []

    @sw.function("async", on="test/event")
    async def f(step: Step) -> Any:
        return await step.wait_for_any(step.run("fast", ran.append, "fast"), step.run("slow", ran.append, "slow"))

    @sw.function("plain", on="test/event")
    def g(step: SyncStep) -> Any:
        return step.wait_for_any(
            lambda: step.run("fast", ran.append, "fast"), lambda: step.run("slow", ran.append, "slow")
        )

    run = PretendRun(sw, "plain" if is_plain else "async", pick=lambda n: -1 if n > 1 and ran else 0)

    assert (await run.end()).body == [0, None]
    assert ran == ["fast"]
    assert run.titles == [["StepPlanned fast", "StepPlanned slow"], ["StepRun fast"], ["200"]]


async def test_a_plain_wait_for_the_first_has_the_right_winner_but_waits_for_the_slowest_step() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        tasks = [asyncio.create_task(step.run(name, lambda n=name: n)) for name in "ab"]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return [done.pop().result(), len(pending)]

    run = PretendRun(sw, "f", pick=lambda n: n - 1)

    assert (await run.end()).body == ["b", 1]
    assert run.titles == [["StepPlanned a", "StepPlanned b"], ["StepRun b"], ["StepRun a"], ["200"]]


async def test_a_call_for_a_step_that_has_lost_does_not_run_it() -> None:
    """A server that doesn't know of closed steps tries it again, say."""
    sw = new_app()
    ran: list[str] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        winner, _ = await step.wait_for_any(step.run("a", ran.append, "a"), step.run("b", ran.append, "b"))
        return await step.run("after", lambda: winner)

    run = PretendRun(sw, "f")
    await run.advance()
    await run.advance()
    assert run.titles[1:] == [["StepRun a"]]

    answer = await run.call(step_hash("b"))

    assert (answer.status, answer.body) == (206, [])
    assert ran == ["a"]
    run.steps[step_hash("after")] = {"data": 0}
    run.stack.append(step_hash("after"))
    answer = await run.call(step_hash("b"))
    assert (answer.status, answer.body) == (206, [])


async def raising(step: Step) -> Any:
    return await step.wait_for_any(step.run("a", lambda: 1 / 0), step.sleep("nap", "1d"))


def raising_sync(step: SyncStep) -> Any:
    return step.wait_for_any(lambda: step.run("a", lambda: 1 / 0), lambda: step.sleep("nap", "1d"))


@pytest.mark.parametrize("handler", [raising, raising_sync], ids=["async", "plain"])
async def test_the_error_of_the_first_to_end_is_raised(handler: Callable[..., Any]) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)

    answer = await PretendRun(sw, "f", max_attempts=1).end()

    assert (answer.status, answer.body["name"]) == (400, "ZeroDivisionError")


async def test_the_error_of_a_loser_interests_nobody(caplog: pytest.LogCaptureFixture) -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        async def branch() -> None:
            try:
                await step.sleep("nap", "1d")
            finally:
                raise ValueError("on the way out")

        return await step.wait_for_any(step.run("a", lambda: 1), branch())

    with caplog.at_level(logging.DEBUG):
        answer = await PretendRun(sw, "f").end()

    assert answer.body == [0, 1]
    assert "never retrieved" not in caplog.text


async def test_a_loser_unwinds_at_once_and_its_steps_are_refused_meanwhile() -> None:
    sw = new_app()
    log: list[str] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        async def branch() -> None:
            try:
                await step.sleep("nap", "1d")
            finally:
                log.append("unwound")
                await step.run("clean-up", log.append, "cleaned up")

        await step.wait_for_any(step.run("a", lambda: 1), branch())
        log.append("decided")
        await step.run("b", lambda: 2)

    run = PretendRun(sw, "f")
    await run.end()

    assert run.titles == [["StepPlanned a", "Sleep nap"], ["StepRun a"], ["StepRun b"], ["200"]]
    assert log[-2:] == ["unwound", "decided"]
    assert "cleaned up" not in log


async def nested(step: Step) -> Any:
    async def inner() -> Any:
        return await step.wait_for_any(step.run("a", lambda: 1), step.sleep("b", "1d"))

    async def group() -> Any:
        return await asyncio.gather(step.sleep("c", "2d"), step.run("d", lambda: 4))

    winner, found = await step.wait_for_any(group(), inner())
    return [winner, found, await asyncio.gather(step.run("e", lambda: 5), step.run("f", lambda: 6))]


def nested_sync(step: SyncStep) -> Any:
    def inner() -> Any:
        return step.wait_for_any(lambda: step.run("a", lambda: 1), lambda: step.sleep("b", "1d"))

    def group() -> Any:
        return step.parallel([lambda: step.sleep("c", "2d"), lambda: step.run("d", lambda: 4)])

    winner, found = step.wait_for_any(group, inner)
    return [winner, found, step.parallel([lambda: step.run("e", lambda: 5), lambda: step.run("f", lambda: 6)])]


@pytest.mark.parametrize("handler", [nested, nested_sync], ids=["async", "plain"])
@pytest.mark.parametrize("knows_closes", [True, False], ids=["our server", "another"])
async def test_races_and_groups_stand_in_one_another(handler: Callable[..., Any], knows_closes: bool) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)
    run = PretendRun(sw, "f", knows_closes=knows_closes)

    answer = await run.end()

    assert answer.body == [1, [0, 1], [5, 6]]
    assert ["StepPlanned e", "StepPlanned f"] in run.titles
    ops = {op.title: op for answer in run.answers for op in reversed(answer.ops)}
    assert {title for title, op in ops.items() if op.option("parallelMode")} >= {"a", "b", "c", "d"}
    assert not {"e", "f"} & {title for title, op in ops.items() if op.option("parallelMode")}


async def test_what_a_winner_leaves_behind_may_still_call_steps() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        left: list[asyncio.Task[Any]] = []

        async def branch() -> None:
            left.append(asyncio.create_task(step.run("left", lambda: 1)))
            await step.run("a", lambda: 2)

        await step.wait_for_any(branch(), step.sleep("nap", "1d"))
        return await left[0]

    assert (await PretendRun(sw, "f").end()).body == 1


async def wrong_task(step: Step) -> Any:
    return await step.wait_for_any(asyncio.create_task(step.sleep("a", 1)), step.sleep("b", 1))  # pyright: ignore[reportArgumentType]


async def wrong_none(step: Step) -> Any:
    return await step.wait_for_any()


async def wrong_both(step: Step) -> Any:
    a, b = step.sleep("a", 1), step.sleep("b", 1)
    try:
        return await step.wait_for_any(a, b=b)  # pyright: ignore[reportCallIssue]
    finally:
        a.close()
        b.close()


async def wrong_place(step: Step) -> Any:
    return await step.run("outer", lambda: step.wait_for_any(step.sleep("a", 1)))


def wrong_value(step: SyncStep) -> Any:
    return step.wait_for_any(1, 2)  # pyright: ignore[reportArgumentType]


WRONG: list[tuple[Callable[..., Any], str]] = [
    (wrong_task, "takes coroutines that haven't begun"),
    (wrong_none, "takes branches either in order or by name, at least one"),
    (wrong_both, "takes branches either in order or by name, at least one"),
    (wrong_value, "step.wait_for_any of function 'acme-f' was given no callables"),
]


@pytest.mark.parametrize(("handler", "message"), WRONG)
async def test_a_race_that_cannot_be_fails_the_run_for_good(handler: Callable[..., Any], message: str) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)

    answer = await PretendRun(sw, "f").call()

    assert (answer.status, answer.body["code"]) == (400, StepUsageError.code)
    assert message in answer.body["message"]


@pytest.mark.filterwarnings("ignore:coroutine 'Step.sleep' was never awaited:RuntimeWarning")
async def test_a_race_inside_a_step_fails_the_step_for_good() -> None:
    sw = new_app()
    sw.function("f", on="test/event")(wrong_place)

    answer = await PretendRun(sw, "f").call(DISCOVER)

    assert answer.titles == ["StepFailed outer"]
    assert "step.wait_for_any is called inside step 'outer'" in answer.ops[0].error["message"]
