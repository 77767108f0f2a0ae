"""What the interrupt means for the code around steps."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from stepwell import Step
from stepwell.sdk import replay
from tests.unit.sdk.pretend import PretendRun, new_app


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "UNWIND_S", 0.01)
    monkeypatch.setattr(replay, "TARGET_GRACE_S", 0.01)


async def test_except_exception_does_not_swallow_the_interrupt() -> None:
    sw = new_app()
    swallowed: list[BaseException] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        try:
            return await asyncio.gather(step.run("a", lambda: 1), step.run("b", lambda: 2))
        except Exception as error:
            swallowed.append(error)

    assert (await PretendRun(sw, "f").end()).body == [1, 2]
    assert not swallowed


async def test_code_behind_concurrent_steps_is_not_reached_by_the_interrupt() -> None:
    """It is the root task that is cancelled: exceptions in its children would be results to the first, errors to the second."""
    sw = new_app()
    reached: list[Any] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        found = await asyncio.gather(
            step.run("a", lambda: 1), step.run("b", lambda: 2), step.sleep("c", 3), return_exceptions=True
        )
        reached.append(found)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(step.run("d", lambda: 4))
                group.create_task(step.run("e", lambda: 5))
        except ExceptionGroup as errors:
            reached.append(errors)
        reached.append("end")

    run = PretendRun(sw, "f")
    await run.end()

    # Once in the call that finds d and e, once in each call for one of them, and once at the end.
    assert reached == [[1, 2, None]] * 4 + ["end"]


async def test_finally_runs_at_each_interrupt_and_its_steps_are_refused() -> None:
    sw = new_app()
    ends: list[str] = []
    cleaned: list[str] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        try:
            await step.run("a", lambda: 1)
        finally:
            ends.append("end")
            await step.run("clean-up", cleaned.append, "x")

    run = PretendRun(sw, "f")
    await run.end()

    assert run.titles == [["StepRun a"], ["StepRun clean-up"], ["200"]]
    assert ends == ["end"] * 3
    assert cleaned == ["x"]


async def test_what_a_handler_opened_is_open_while_its_step_runs() -> None:
    sw = new_app()
    states: list[str] = []

    @contextlib.asynccontextmanager
    async def connection() -> AsyncGenerator[list[str]]:
        connected = ["open"]
        try:
            yield connected
        finally:
            connected[0] = "closed"
            states.append("closed")

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        async with connection() as connected:
            await step.run("a", lambda: states.append(connected[0]))

    await PretendRun(sw, "f").advance()

    assert states == ["open", "closed"]


async def test_a_handler_that_swallows_the_interrupt_reports_its_step_all_the_same(short_waits: None) -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> str:
        try:
            await step.run("a", lambda: 1)
        except BaseException:
            return "wrong"
        return "right"

    run = PretendRun(sw, "f")

    assert (await run.end()).body == "right"
    assert run.titles == [["StepRun a"], ["200"]]


async def test_a_handler_that_will_not_end_does_not_hold_back_the_reply(
    short_waits: None, caplog: pytest.LogCaptureFixture
) -> None:
    sw = new_app()
    released = asyncio.Event()
    tasks: list[Any] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        tasks.append(asyncio.current_task())
        try:
            await step.run("a", lambda: 1)
        finally:
            while not released.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()

    with caplog.at_level(logging.ERROR, "stepwell"):
        answer = await PretendRun(sw, "f").call()

    assert answer.titles == ["StepRun a"]
    assert "goes on after its interrupt" in caplog.text
    released.set()
    await asyncio.wait(tasks)


async def test_a_handler_that_tries_a_refused_step_again_and_again_holds_nothing_else(short_waits: None) -> None:
    sw = new_app()
    stop, tasks = asyncio.Event(), []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        tasks.append(asyncio.current_task())
        while not stop.is_set():
            with contextlib.suppress(BaseException):
                await step.run("a", lambda: 1)

    answer = await PretendRun(sw, "f").call()

    assert answer.titles == ["StepRun a"]
    stop.set()
    await asyncio.wait(tasks)


async def test_steps_that_a_time_out_withdraws_while_others_are_busy_are_not_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay, "BUSY_GRACE_S", 5)
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        async def busy() -> None:
            await asyncio.get_running_loop().create_future()

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.gather(step.run("a", lambda: 1), busy())
        return await step.run("b", lambda: 2)

    assert (await PretendRun(sw, "f").call()).titles == ["StepRun b"]


async def test_a_time_out_does_not_cut_a_running_step_short() -> None:
    sw = new_app()
    timed_out = asyncio.Event()

    async def slow() -> str:
        await timed_out.wait()
        return "done"

    @sw.function("f", on="test/event")
    async def f(step: Step) -> str:
        try:
            async with asyncio.timeout(0.01):
                return await step.run("a", slow)
        except TimeoutError:
            timed_out.set()
            return "timed out"

    run = PretendRun(sw, "f")

    assert (await run.end()).body == "done"
    assert run.titles == [["StepRun a"], ["200"]]


async def test_a_branch_that_is_busy_for_a_moment_is_found_with_the_others() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        async def busy() -> int:
            await asyncio.sleep(0.001)
            return await step.run("b", lambda: 2)

        return await asyncio.gather(step.run("a", lambda: 1), busy())

    run = PretendRun(sw, "f")

    assert (await run.end()).body == [1, 2]
    assert run.titles[0] == ["StepPlanned a", "StepPlanned b"]


async def test_a_branch_that_is_busy_for_long_is_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    sw = new_app()
    # Whatever a branch waits for outside of steps: here, for the other branch's step.
    over: concurrent.futures.Future[None] = concurrent.futures.Future()
    monkeypatch.setattr(replay, "BUSY_GRACE_S", 0.001)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        async def busy() -> int:
            await asyncio.wrap_future(over)
            return await step.run("b", lambda: 2)

        return await asyncio.gather(step.run("a", over.set_result, None), busy())

    run = PretendRun(sw, "f")

    assert (await run.end()).body == [None, 2]
    assert run.titles == [["StepRun a"], ["StepRun b"], ["200"]]


async def test_a_targeted_call_waits_for_a_busy_branch() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        async def busy(name: str) -> str:
            await asyncio.sleep(0.001)
            return await step.run(name, lambda: name)

        return await asyncio.gather(step.run("a", lambda: "a"), busy("b"), busy("c"))

    assert (await PretendRun(sw, "f").end()).body == ["a", "b", "c"]


async def test_a_targeted_call_gives_up_on_a_branch_that_stays_busy(short_waits: None) -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        return await asyncio.gather(step.run("a", lambda: "a"), asyncio.sleep(60))

    answer = await PretendRun(sw, "f").call("0" * 40)

    assert answer.body["code"] == "step_unexpected"


async def test_a_failing_sibling_withdraws_the_steps_of_a_task_group() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        async def fail() -> None:
            await step.run("a", lambda: 1)
            raise ValueError("no")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(_two(step))
        except* ValueError:
            pass
        return await step.run("after", lambda: "after")

    async def _two(step: Step) -> None:
        await step.run("b", lambda: 2)
        await step.run("c", lambda: 3)

    run = PretendRun(sw, "f")

    assert (await run.end()).body == "after"
    assert run.titles == [
        ["StepPlanned a", "StepPlanned b"],
        ["StepRun a"],
        ["StepRun b"],
        ["StepRun after"],
        ["200"],
    ]


async def test_tasks_that_the_handler_left_at_a_step_end_with_the_call() -> None:
    sw = new_app()
    left: list[asyncio.Task[Any]] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> str:
        left.append(asyncio.create_task(step.run("a", lambda: 1)))
        await asyncio.sleep(0)
        return "done"

    answer = await PretendRun(sw, "f").call()

    assert answer.body == "done"
    assert left[0].cancelled()


async def test_tasks_that_the_handler_left_at_work_go_on() -> None:
    """A connection pool that a handler is the first to open may start a task that serves the whole app."""
    sw = new_app()
    left: list[asyncio.Task[Any]] = []
    stop = asyncio.Event()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        left.append(asyncio.create_task(asyncio.wait_for(stop.wait(), 10)))
        await step.run("a", lambda: 1)

    await PretendRun(sw, "f").call()

    assert not left[0].done()
    stop.set()
    assert await left[0] is True


async def test_a_cancelled_call_stops_its_step_and_its_handler() -> None:
    sw = new_app()
    started, ends = asyncio.Event(), []

    async def slow() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("step")

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        try:
            await step.run("a", slow)
        finally:
            ends.append("handler")

    call = asyncio.create_task(PretendRun(sw, "f").call())
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert ends == ["step", "handler"]


async def test_a_handler_cancelled_by_its_own_code_is_a_retriable_error() -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f() -> None:
        raise asyncio.CancelledError

    answer = await PretendRun(sw, "f").call()

    assert (answer.status, answer.headers["X-Inngest-No-Retry"]) == (500, "false")


async def test_a_body_that_cancels_itself_fails_its_step() -> None:
    sw = new_app()

    async def cancel() -> None:
        raise asyncio.CancelledError

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("a", cancel)

    assert (await PretendRun(sw, "f").call()).titles == ["StepError a"]


async def test_another_task_factory_of_the_loop_stays_in_use() -> None:
    sw = new_app()
    made: list[str] = []
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append("task")
        return asyncio.Task(coro, loop=loop, **options)

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        return await asyncio.gather(step.run("a", lambda: 1), step.run("b", lambda: 2))

    before = loop.get_task_factory()
    loop.set_task_factory(factory)
    try:
        assert (await PretendRun(sw, "f").end()).body == [1, 2]
    finally:
        loop.set_task_factory(before)
    assert made


async def test_a_handler_that_never_waits_does_not_hang_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "TURNS_MAX", 50)
    monkeypatch.setattr(replay, "BUSY_GRACE_S", 0.001)
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        async def spin() -> None:
            while True:  # noqa: ASYNC110 - that it waits for nothing is the point
                await asyncio.sleep(0)

        await asyncio.gather(spin(), step.run("a", lambda: 1))

    assert (await PretendRun(sw, "f").call()).titles == ["StepRun a"]
