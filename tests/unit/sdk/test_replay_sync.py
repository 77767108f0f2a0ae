"""Plain handlers: each construct against the pretend server, reply by reply, in a thread and without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from stepwell import Interrupted, NonRetriableError, StepError, SyncStep
from tests.unit.sdk.pretend import PretendRun, new_app

Handler = Callable[[SyncStep], Any]


def sequence(step: SyncStep) -> Any:
    a = step.run("a", lambda: 1)
    step.sleep("nap", "3d")
    return step.run("b", lambda n: n + 1, a)


def parallel(step: SyncStep) -> Any:
    a, b = step.parallel([lambda: step.run("a", lambda: 1), lambda: step.run("b", lambda: 2)])
    return [a, b, step.run("c", lambda: 3)]


def parallel_with_a_sleep(step: SyncStep) -> Any:
    return step.parallel([lambda: step.run("a", lambda: 1), lambda: step.sleep("nap", "1d")])


def branches_of_two(step: SyncStep) -> Any:
    def branch(name: str) -> str:
        first = step.run("load", lambda: name)
        return step.run("send", lambda: first * 2)

    return step.parallel([lambda: branch("x"), lambda: branch("y")])


def nested(step: SyncStep) -> Any:
    def inner() -> list[int]:
        return step.parallel([lambda: step.run("a", lambda: 1), lambda: step.run("b", lambda: 2)])

    return step.parallel([inner, lambda: step.run("c", lambda: 3)])


def same_id(step: SyncStep) -> Any:
    return [step.run("n", lambda n=n: n) for n in range(2)]


def same_id_in_parallel(step: SyncStep) -> Any:
    return step.parallel([lambda n=n: step.run("n", lambda: n) for n in range(2)])


def error_caught(step: SyncStep) -> Any:
    try:
        step.run("a", lambda: {}["missing"])
    except StepError as error:
        return [error.name, error.message, "KeyError" in error.traceback]


def errors_in_parallel(step: SyncStep) -> Any:
    def fail() -> None:
        raise NonRetriableError("no")

    try:
        step.parallel([lambda: step.run("a", fail), lambda: step.run("b", lambda: 2)])
    except StepError as error:
        return error.message


def async_body(step: SyncStep) -> Any:
    async def load(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    return step.run("a", load, 1)


def until(step: SyncStep) -> Any:
    step.sleep_until("nap", "2030-01-31T09:00:00+01:00")


CASES: list[tuple[Handler, Any, list[list[str]]]] = [
    (sequence, 2, [["StepRun a"], ["Sleep nap"], ["StepRun b"], ["200"]]),
    (
        parallel,
        [1, 2, 3],
        [["StepPlanned a", "StepPlanned b"], ["StepRun a"], ["StepRun b"], ["StepRun c"], ["200"]],
    ),
    (parallel_with_a_sleep, [1, None], [["StepPlanned a", "Sleep nap"], ["StepRun a"], ["200"]]),
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
        nested,
        [[1, 2], 3],
        [
            ["StepPlanned a", "StepPlanned b", "StepPlanned c"],
            ["StepRun a"],
            ["StepRun b"],
            ["StepRun c"],
            ["200"],
        ],
    ),
    (same_id, [0, 1], [["StepRun n"], ["StepRun n"], ["200"]]),
    (same_id_in_parallel, [0, 1], [["StepPlanned n", "StepPlanned n"], ["StepRun n"], ["StepRun n"], ["200"]]),
    (error_caught, ["KeyError", "'missing'", True], [["StepError a"], ["StepError a"], ["StepFailed a"], ["200"]]),
    (errors_in_parallel, "no", [["StepPlanned a", "StepPlanned b"], ["StepFailed a"], ["StepRun b"], ["200"]]),
    (async_body, 2, [["StepRun a"], ["200"]]),
    (until, None, [["Sleep nap"], ["200"]]),
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


@pytest.mark.parametrize("last", [0, 1], ids=["first branch first", "second branch first"])
async def test_a_repeated_id_keeps_its_step_whatever_is_completed_first(last: int) -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    def f(step: SyncStep) -> Any:
        def branch(name: str) -> list[str]:
            return [step.run("load", lambda: name), step.run("send", name.upper), step.run("send", name.title)]

        return [*step.parallel([lambda: branch("xx"), lambda: branch("yy")]), step.run("send", lambda: "last")]

    run = PretendRun(sw, "f", pick=lambda n: min(last, n - 1), has_joins=False)

    assert (await run.end()).body == [["xx", "XX", "Xx"], ["yy", "YY", "Yy"], "last"]
    assert len(set(run.stack)) == len(run.stack) == 7


async def test_a_plain_handler_runs_in_a_thread_under_asgi_and_its_async_steps_in_the_loop() -> None:
    sw = new_app()
    threads: list[threading.Thread] = []

    async def body() -> None:
        threads.append(threading.current_thread())

    @sw.function("f", on="test/event")
    def f(step: SyncStep) -> None:
        threads.append(threading.current_thread())
        step.run("a", body)

    await PretendRun(sw, "f").call()

    assert threads[0] is not threading.current_thread()
    assert threads[1] is threading.current_thread()


async def test_except_exception_does_not_swallow_the_interrupt_and_steps_while_unwinding_are_refused() -> None:
    sw = new_app()
    swallowed: list[BaseException] = []
    refused: list[BaseException] = []

    @sw.function("f", on="test/event")
    def f(step: SyncStep) -> None:
        try:
            step.run("a", lambda: 1)
            step.run("b", lambda: 2)
        except Exception as error:
            swallowed.append(error)
        finally:
            try:
                step.run("clean-up", lambda: 3)
            except Interrupted as error:
                refused.append(error)
                raise

    run = PretendRun(sw, "f")
    await run.end()

    assert run.titles == [["StepRun a"], ["StepRun b"], ["StepRun clean-up"], ["200"]]
    assert not swallowed
    assert len(refused) == 3


async def test_a_branch_that_swallows_its_end_is_reported_all_the_same() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    def f(step: SyncStep) -> Any:
        def branch(name: str) -> str:
            try:
                return step.run(name, lambda: name)
            except BaseException:
                return step.run("wrong", lambda: "wrong")

        return step.parallel([lambda: branch("a"), lambda: branch("b")])

    run = PretendRun(sw, "f")

    assert (await run.end()).body == ["a", "b"]
    assert run.titles[0] == ["StepPlanned a", "StepPlanned b"]


async def test_a_step_in_another_thread_fails_the_run_and_says_what_to_use() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    def f(step: SyncStep) -> None:
        errors: list[Exception] = []

        def call() -> None:
            try:
                step.run("a", lambda: 1)
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        raise errors[0]

    answer = await PretendRun(sw, "f").call()

    assert (answer.status, answer.headers["X-Inngest-No-Retry"]) == (400, "true")
    assert "use step.parallel" in answer.body["message"]


async def test_a_step_inside_a_step_fails_for_good_and_names_both() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    def f(step: SyncStep) -> None:
        step.run("outer", lambda: step.run("inner", lambda: 1))

    answer = await PretendRun(sw, "f").call()

    assert answer.titles == ["StepFailed outer"]
    assert "'inner' is called inside step 'outer' of function 'acme-f'" in answer.ops[0].error["message"]


@pytest.mark.parametrize("handler", [sequence, parallel], ids=["alone", "parallel"])
async def test_a_target_that_the_code_does_not_come_to_is_a_retriable_error(handler: Handler) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)

    answer = await PretendRun(sw, "f").call("0" * 40)

    assert (answer.status, answer.body["code"]) == (500, "step_unexpected")
    assert answer.headers["X-Inngest-No-Retry"] == "false"


async def test_a_function_that_ends_without_its_target_is_a_retriable_error() -> None:
    sw = new_app()
    sw.function("f", on="test/event")(lambda: None)

    assert (await PretendRun(sw, "f").call("0" * 40)).body["code"] == "step_unexpected"


async def test_with_immediate_execution_disabled_a_lone_step_is_planned() -> None:
    sw = new_app()
    sw.function("f", on="test/event")(sequence)
    run = PretendRun(sw, "f")
    run._plans_only = True

    assert (await run.call()).titles == ["StepPlanned a"]


async def test_an_error_of_the_handler_is_its_outcome() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    def f(step: SyncStep) -> None:
        step.parallel([lambda: 1 / 0, lambda: step.run("a", lambda: 1)])

    run = PretendRun(sw, "f", max_attempts=1)
    answer = await run.end()

    assert run.titles == [["StepPlanned a"], ["StepRun a"], ["500"]]
    assert (answer.body["name"], answer.body["message"]) == ("ZeroDivisionError", "division by zero")
