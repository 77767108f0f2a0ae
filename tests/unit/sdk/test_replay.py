"""Async handlers: each construct against the pretend server, reply by reply."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import uvloop

from stepwell import Event, NonRetriableError, RetryAfterError, Step, StepError
from stepwell.limits import STEP_INPUT_KEPT_BYTES_MAX
from tests.unit.sdk.pretend import PretendRun, new_app

Handler = Callable[[Step], Awaitable[Any]]


async def sequence(step: Step) -> Any:
    a = await step.run("a", lambda: 1)
    await step.sleep("nap", "3d")
    return await step.run("b", lambda n: n + 1, a)


async def gathered(step: Step) -> Any:
    return await asyncio.gather(step.run("a", lambda: 1), step.run("b", lambda: 2), step.sleep("nap", 5))


async def task_group(step: Step) -> Any:
    async with asyncio.TaskGroup() as group:
        a = group.create_task(step.run("a", lambda: 1))
        b = group.create_task(step.run("b", lambda: 2))
    return [a.result(), b.result(), await step.run("c", lambda: 3)]


async def gathered_with_exceptions(step: Step) -> Any:
    a, b = await asyncio.gather(step.run("a", lambda: 1), step.run("b", lambda: 1 / 0), return_exceptions=True)
    return [a, type(b).__name__, str(b)]


async def branches_of_two(step: Step) -> Any:
    async def branch(name: str) -> str:
        first = await step.run("load", lambda: name)
        return await step.run("send", lambda: first * 2)

    return await asyncio.gather(branch("x"), branch("y"))


async def nested_gathers(step: Step) -> Any:
    inner = asyncio.gather(asyncio.gather(step.run("a", lambda: 1)), asyncio.gather(step.run("b", lambda: 2)))
    return await asyncio.gather(inner, step.run("c", lambda: 3))


async def anyio_task_group(step: Step) -> Any:
    found: list[int] = []

    async def branch(name: str, n: int) -> None:
        found.append(await step.run(name, lambda: n))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(branch, "a", 1)
            group.start_soon(branch, "b", 2)
    return [*found, await step.run("c", lambda: 3)]


async def waited(step: Step) -> Any:
    tasks = [asyncio.create_task(step.run(name, lambda: 1)) for name in "ab"]
    done, pending = await asyncio.wait(tasks)
    return [len(done), len(pending)]


async def waited_for(step: Step) -> Any:
    return await asyncio.wait_for(step.run("a", lambda: 1), 10)


async def timed(step: Step) -> Any:
    async with asyncio.timeout(10):
        return await asyncio.gather(step.run("a", lambda: 1), step.run("b", lambda: 2))


async def shielded(step: Step) -> Any:
    return await asyncio.shield(step.run("a", lambda: 1))


async def limited_by_a_semaphore(step: Step) -> Any:
    limit = asyncio.Semaphore(2)

    async def one(n: int) -> int:
        async with limit:
            return await step.run(f"n{n}", lambda: n)

    return await asyncio.gather(*(one(n) for n in range(4)))


async def fed_by_a_queue(step: Step) -> Any:
    queue: asyncio.Queue[int] = asyncio.Queue()
    found: list[int] = []

    async def consume() -> None:
        found.extend([await queue.get(), await queue.get()])

    consumer = asyncio.create_task(consume())
    for n in range(2):
        queue.put_nowait(await step.run("produce", lambda n=n: n))
    await consumer
    return found


async def same_id_in_a_loop(step: Step) -> Any:
    return [await step.run("n", lambda n=n: n) for n in range(3)]


async def error_caught(step: Step) -> Any:
    try:
        await step.run("a", lambda: {}["missing"])
    except StepError as error:
        return [error.name, error.message, "KeyError" in error.traceback]


async def async_body(step: Step) -> Any:
    async def load(n: int, *, more: int) -> int:
        await asyncio.sleep(0)
        return n + more

    return [await step.run("a", load, 1, more=2), await step.run("b", lambda: load(3, more=4))]


CASES: list[tuple[Handler, Any, list[list[str]]]] = [
    (sequence, 2, [["StepRun a"], ["Sleep nap"], ["StepRun b"], ["200"]]),
    (gathered, [1, 2, None], [["StepPlanned a", "StepPlanned b", "Sleep nap"], ["StepRun a"], ["StepRun b"], ["200"]]),
    (
        task_group,
        [1, 2, 3],
        [["StepPlanned a", "StepPlanned b"], ["StepRun a"], ["StepRun b"], ["StepRun c"], ["200"]],
    ),
    (
        gathered_with_exceptions,
        [1, "StepError", "division by zero"],
        [
            ["StepPlanned a", "StepPlanned b"],
            ["StepRun a"],
            ["StepError b"],
            ["StepError b"],
            ["StepFailed b"],
            ["200"],
        ],
    ),
    (
        branches_of_two,
        ["xx", "yy"],
        [
            ["StepPlanned load", "StepPlanned load"],
            ["StepRun load"],
            ["StepRun load"],
            ["StepPlanned send", "StepPlanned send"],
            ["StepRun send"],
            ["StepRun send"],
            ["200"],
        ],
    ),
    (
        nested_gathers,
        [[[1], [2]], 3],
        [
            ["StepPlanned a", "StepPlanned b", "StepPlanned c"],
            ["StepRun a"],
            ["StepRun b"],
            ["StepRun c"],
            ["200"],
        ],
    ),
    (
        anyio_task_group,
        [1, 2, 3],
        [["StepPlanned a", "StepPlanned b"], ["StepRun a"], ["StepRun b"], ["StepRun c"], ["200"]],
    ),
    (waited, [2, 0], [["StepPlanned a", "StepPlanned b"], ["StepRun a"], ["StepRun b"], ["200"]]),
    (waited_for, 1, [["StepRun a"], ["200"]]),
    (timed, [1, 2], [["StepPlanned a", "StepPlanned b"], ["StepRun a"], ["StepRun b"], ["200"]]),
    (shielded, 1, [["StepRun a"], ["200"]]),
    (
        limited_by_a_semaphore,
        [0, 1, 2, 3],
        [
            ["StepPlanned n0", "StepPlanned n1"],
            ["StepRun n0"],
            ["StepRun n1"],
            ["StepPlanned n2", "StepPlanned n3"],
            ["StepRun n2"],
            ["StepRun n3"],
            ["200"],
        ],
    ),
    (fed_by_a_queue, [0, 1], [["StepRun produce"], ["StepRun produce"], ["200"]]),
    (same_id_in_a_loop, [0, 1, 2], [["StepRun n"], ["StepRun n"], ["StepRun n"], ["200"]]),
    (
        error_caught,
        ["KeyError", "'missing'", True],
        [["StepError a"], ["StepError a"], ["StepFailed a"], ["200"]],
    ),
    (async_body, [3, 7], [["StepRun a"], ["StepRun b"], ["200"]]),
]


@pytest.mark.parametrize(("handler", "result", "titles"), CASES, ids=[case[0].__name__ for case in CASES])
@pytest.mark.parametrize("is_sync", [False, True], ids=["asgi", "wsgi"])
async def test_a_construct_comes_to_its_result_step_by_step(
    handler: Handler, result: Any, titles: list[list[str]], is_sync: bool
) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)
    run = PretendRun(sw, "f", is_sync=is_sync)

    answer = await run.end()

    assert answer.body == result
    assert run.titles == titles


@pytest.mark.parametrize(("handler", "result", "titles"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_construct_comes_to_its_result_on_uvloop(handler: Handler, result: Any, titles: list[list[str]]) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)
    run = PretendRun(sw, "f")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answer = runner.run(run.end())

    assert answer.body == result
    assert run.titles == titles


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks from 3.12 on")
@pytest.mark.parametrize("case", CASES, ids=[case[0].__name__ for case in CASES])
def test_a_construct_comes_to_its_result_with_eager_tasks(case: tuple[Handler, Any, list[list[str]]]) -> None:
    handler, result, titles = case
    sw = new_app()
    sw.function("f", on="test/event")(handler)
    run = PretendRun(sw, "f")

    async def end() -> Any:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
        return await run.end()

    assert asyncio.run(end()).body == result
    assert run.titles == titles


@pytest.mark.parametrize("last", [0, 1], ids=["first a then b", "first b then a"])
async def test_a_race_keeps_the_winner_that_it_had(last: int) -> None:
    sw = new_app()

    @sw.function("race", on="test/event")
    async def race(step: Step) -> Any:
        tasks = {asyncio.create_task(step.run(name, lambda n=name: n), name=name) for name in "ab"}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        winner = done.pop().result()
        return [winner, await step.run(f"after-{winner}", lambda: len(pending))]

    run = PretendRun(sw, "race", pick=lambda n: min(last, n - 1), has_joins=False)

    answer = await run.end()

    assert answer.body == ["ab"[last], 1]
    assert run.titles[-2:] == [[f"StepRun after-{'ab'[last]}"], ["200"]]


@pytest.mark.parametrize("last", [0, 1], ids=["first branch first", "second branch first"])
async def test_a_repeated_id_keeps_its_index_whatever_is_completed_first(last: int) -> None:
    """Both branches use the ids load and send; each must get its own results back, in every order of completion."""
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        async def branch(name: str) -> list[str]:
            return [await step.run("load", lambda: name), await step.run("send", name.upper)]

        return await asyncio.gather(branch("x"), branch("y"))

    # Without joins: a discovery follows each completion, so that a branch goes on while the other has nothing yet.
    run = PretendRun(sw, "f", pick=lambda n: min(last, n - 1), has_joins=False)

    assert (await run.end()).body == [["x", "X"], ["y", "Y"]]


async def test_as_completed_gives_the_results_of_all() -> None:
    """It starts its tasks in any order, so the order in which their steps are reported says nothing."""
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        steps = [step.run("a", lambda: 1), step.run("b", lambda: 2)]
        return sorted([await result for result in asyncio.as_completed(steps)])

    assert (await PretendRun(sw, "f").end()).body == [1, 2]


async def test_a_targeted_call_runs_its_step_alone() -> None:
    sw = new_app()
    ran: list[str] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await asyncio.gather(*(step.run(name, ran.append, name) for name in "abc"))

    run = PretendRun(sw, "f")
    await run.advance()
    planned = run.answers[0].ops

    answer = await run.call(planned[1].id)

    assert answer.titles == ["StepRun b"]
    assert ran == ["b"]


async def test_a_targeted_call_for_a_known_step_has_nothing_to_say() -> None:
    sw = new_app()
    sw.function("f", on="test/event")(sequence)
    run = PretendRun(sw, "f")
    await run.advance()

    answer = await run.call(run.stack[0])

    assert (answer.status, answer.body) == (206, [])


@pytest.mark.parametrize("handler", [sequence, gathered], ids=["alone", "parallel"])
async def test_a_target_that_the_code_does_not_come_to_is_a_retriable_error(handler: Handler) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)

    answer = await PretendRun(sw, "f").call("0" * 40)

    assert (answer.status, answer.body["code"]) == (500, "step_unexpected")
    assert answer.headers["X-Inngest-No-Retry"] == "false"
    assert "its code has changed" in answer.body["message"]


async def test_with_immediate_execution_disabled_a_lone_step_is_planned() -> None:
    sw = new_app()
    ran: list[int] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("a", ran.append, 1)

    run = PretendRun(sw, "f")
    run._plans_only = True

    answer = await run.call()

    assert answer.titles == ["StepPlanned a"]
    assert not ran


async def test_an_uncaught_step_error_fails_the_run_at_once_with_the_original_error() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("a", lambda: {}["missing"])

    answer = await PretendRun(sw, "f").end()

    assert answer.headers["X-Inngest-No-Retry"] == "true"
    assert (answer.status, answer.body["name"], answer.body["message"]) == (400, "KeyError", "'missing'")
    assert "KeyError" in answer.body["stack"]


async def test_step_errors_in_a_task_group_fail_the_run_at_once() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.run("a", lambda: 1 / 0))
            group.create_task(step.run("b", lambda: 1 / 0))

    answer = await PretendRun(sw, "f", max_attempts=1).end()

    assert (answer.status, answer.headers["X-Inngest-No-Retry"]) == (400, "true")


@pytest.mark.parametrize(
    ("error", "op", "no_retry", "retry_after"),
    [
        (ValueError("no"), "StepError", "false", None),
        (NonRetriableError("never"), "StepFailed", "true", None),
        (RetryAfterError("later", 90), "StepError", "false", "90"),
    ],
)
async def test_an_error_in_a_step_says_when_it_may_be_tried_again(
    error: Exception, op: str, no_retry: str, retry_after: str | None
) -> None:
    sw = new_app()

    def body() -> None:
        raise error

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("a", body)

    answer = await PretendRun(sw, "f").call()

    assert answer.titles == [f"{op} a"]
    assert answer.ops[0].error["name"] == type(error).__name__
    assert answer.ops[0].error["message"] == str(error)
    assert "in body\n    raise error" in answer.ops[0].error["stack"]
    assert "stepwell/sdk" not in answer.ops[0].error["stack"]
    assert answer.headers["X-Inngest-No-Retry"] == no_retry
    assert answer.headers.get("Retry-After") == retry_after


async def test_the_last_attempt_of_a_step_is_final() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("a", lambda: 1 / 0)

    run = PretendRun(sw, "f", max_attempts=3)

    assert (await run.call(attempt=1)).titles == ["StepError a"]
    assert (await run.call(attempt=2)).titles == ["StepFailed a"]


async def test_a_step_inside_a_step_fails_for_good_and_names_both() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        async def outer() -> None:
            await step.run("inner", lambda: 1)

        await step.run("outer", outer)

    answer = await PretendRun(sw, "f").call()

    assert answer.titles == ["StepFailed outer"]
    message = answer.ops[0].error["message"]
    assert "'inner' is called inside step 'outer' of function 'acme-f'" in message


async def test_a_result_that_json_cannot_hold_fails_the_step_for_good() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("a", object)

    answer = await PretendRun(sw, "f").call()

    assert answer.titles == ["StepFailed a"]
    message = answer.ops[0].error["message"]
    assert "the result of step 'a' in function 'acme-f' can't be written as JSON" in message
    assert "builtins.object" in message


async def test_a_result_of_the_function_that_json_cannot_hold_fails_the_run_for_good() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f() -> object:
        return object()

    answer = await PretendRun(sw, "f").end()

    assert (answer.status, answer.headers["X-Inngest-No-Retry"]) == (400, "true")
    assert "the result of function 'acme-f' can't be written as JSON" in answer.body["message"]


@pytest.mark.parametrize(("size", "op"), [(4 * 1024 * 1024 - 2, "StepRun a"), (4 * 1024 * 1024 - 1, "StepFailed a")])
async def test_a_result_over_the_limit_fails_the_step_for_good(size: int, op: str) -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("a", lambda: "x" * size)

    assert (await PretendRun(sw, "f").call()).titles == [op]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda step: step.run("", str), "has the id ''"),
        (lambda step: step.run("a", None), "was given no callable"),
        (lambda step: step.sleep("nap", "soon"), "'soon' is not a duration"),
        (lambda step: step.sleep("nap", "367d"), "the most is 366 days"),
        (lambda step: step.sleep_until("nap", "tomorrow"), "is not a time"),
        (lambda step: step.sleep_until("nap", "2030-01-01T00:00:00"), "has no time zone"),
    ],
)
async def test_a_step_that_cannot_be_fails_the_run_for_good_with_its_name(
    call: Callable[[Step], Awaitable[Any]], message: str
) -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await call(step)

    answer = await PretendRun(sw, "f").call()

    assert (answer.status, answer.headers["X-Inngest-No-Retry"]) == (400, "true")
    assert message in answer.body["message"]


async def test_a_step_reports_what_it_was_given() -> None:
    sw = new_app()

    class Session:
        pass

    def pay(*args: Any, **kwargs: Any) -> None:
        args[1].append("changed")

    async def handler(event: Event, step: Step) -> None:
        await step.run("pay", pay, event, [1], Session(), cents=7)

    sw.function("f", on="test/event")(handler)
    run = PretendRun(sw, "f")

    answer = await run.call()

    event, items, session, named = answer.ops[0].option("input")
    assert (event["event"], items, named) == ("test/event", [1], {"cents": 7})
    assert session.endswith("Session>")


async def test_a_step_reports_no_input_that_is_too_large() -> None:
    sw = new_app()

    async def handler(event: Event, step: Step) -> int:
        return await step.run("count", len, "x" * STEP_INPUT_KEPT_BYTES_MAX)

    sw.function("f", on="test/event")(handler)
    answer = await PretendRun(sw, "f").call()

    assert answer.ops[0].option("input") is None
    assert bytes(answer.ops[0].data) == b"%d" % STEP_INPUT_KEPT_BYTES_MAX


async def test_a_step_run_again_with_another_input_gets_it() -> None:
    sw = new_app()
    sw.function("f", on="test/event")(sequence)
    run = PretendRun(sw, "f")
    await run.end()
    run.steps[run.stack[2]] = {"input": [41]}

    answer = await run.call()

    assert bytes(answer.ops[0].data) == b"42"
