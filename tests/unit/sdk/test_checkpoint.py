"""Calls that go on after a step (protocol 7)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import msgspec
import pytest

from stepwell import FunctionConfigError, Step, SyncStep
from stepwell.protocol import headers
from stepwell.protocol.ids import step_hash
from stepwell.sdk import checkpoint
from stepwell.sdk.client import Client
from tests.unit.sdk.checkpointing import CTX, CheckpointedRun
from tests.unit.sdk.pretend import PretendRun, new_app
from tests.unit.sdk.test_connections import listening

# An async and a plain function, and both ways to serve them.
KINDS = [("async", False), ("async", True), ("sync", False), ("sync", True)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'wsgi' if kind[1] else 'asgi'}")
def kind(request: pytest.FixtureRequest) -> tuple[str, bool]:
    return request.param


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "RETRY_DELAYS_S", (0.0, 0.0, 0.0, 0.0))


class Chain:
    """Functions of steps in a row, async and plain; how often their code ran."""

    def __init__(self, length: int = 3, value: Any = None, **options: Any) -> None:
        self.sw = new_app()
        self.length, self.value = length, value
        self.handler_count = 0
        self.ran: list[int] = []
        self.ends = 0
        self.sw.function("async", on="test/event", **options)(self.in_async)
        self.sw.function("sync", on="test/event", **options)(self.in_sync)

    def body(self, number: int) -> Any:
        self.ran.append(number)
        return number if self.value is None else self.value

    async def in_async(self, step: Step) -> Any:
        self.handler_count += 1
        try:
            return [await step.run(f"s{number}", self.body, number) for number in range(self.length)]
        finally:
            self.ends += 1

    def in_sync(self, step: SyncStep) -> Any:
        self.handler_count += 1
        try:
            return [step.run(f"s{number}", self.body, number) for number in range(self.length)]
        finally:
            self.ends += 1

    def run(self, kind: tuple[str, bool], **options: Any) -> CheckpointedRun:
        return CheckpointedRun(self.sw, kind[0], is_sync=kind[1], **options)


async def test_steps_in_a_row_are_one_call(kind: tuple[str, bool]) -> None:
    chain = Chain(20)
    run = chain.run(kind)

    end = await run.end()

    assert (end.status, end.body) == (200, list(range(20)))
    assert (chain.handler_count, chain.ends, len(run.answers)) == (1, 1, 1)
    assert chain.ran == list(range(20))
    assert run.stack == [step_hash(f"s{number}") for number in range(20)]


async def test_a_checkpoint_names_its_call(kind: tuple[str, bool]) -> None:
    run = Chain(2).run(kind)

    await run.end()

    sent = run.checkpoints
    assert [str(request.url) for request in run.requests] == [
        "http://server.test:8288/v1/checkpoint/01JABCDEFGHJKMNPQRSTVWXYZ0/async"
    ] * 2
    assert run.requests[0].headers[headers.SDK].startswith("stepwell-py:")
    assert (sent[0].run_id, sent[0].fn_id, sent[0].qi_id) == ("01JABCDEFGHJKMNPQRSTVWXYZ0", "fn-1", "qi-1")
    assert (sent[0].request_id, sent[0].generation_id) == ("req-1", 1)
    assert sent[0].request_started_at <= sent[0].ts
    assert [[op.title for op in one.steps] for one in sent] == [["s0"], ["s1"]]
    assert all(op.ran_ms is not None for one in sent for op in one.steps)


async def test_going_on_gives_what_a_replay_gives(kind: tuple[str, bool]) -> None:
    """The server keeps results in canonical form: keys sorted, 1.0 as 1, integers beyond 2**53 rounded."""
    value = {"b": 1.0, "a": [2**60, 0.5, None], "ä": "x", "\U0001f600": 1}
    going_on, replaying = Chain(2, value), Chain(2, value)

    end = await going_on.run(kind).end()
    # The first step is known to the second app by a call's memo, as a server writes it.
    run = replaying.run(kind)
    canonical = {"a": [1152921504606847000, 0.5, None], "b": 1, "ä": "x", "\U0001f600": 1}
    run.steps = {step_hash("s0"): {"data": canonical}}
    run.stack = [step_hash("s0")]
    again = await run.end()

    assert json.dumps(end.body[0]) == json.dumps(again.body[0])
    assert json.dumps(end.body[1]) == json.dumps(again.body[1])


@pytest.mark.parametrize(
    "change",
    [
        {"fn_id": ""},
        {"qi_id": ""},
        {"disable_immediate_execution": True},
        {"attempt": 1},
    ],
)
async def test_a_call_that_must_not_go_on_ends_with_its_step(change: dict[str, Any], kind: tuple[str, bool]) -> None:
    run = Chain().run(kind, ctx={**CTX, **change})

    answer = await run.call()

    assert answer.titles in (["StepRun s0"], ["StepPlanned s0"])
    assert not run.requests


async def test_a_call_for_one_step_does_not_go_on(kind: tuple[str, bool]) -> None:
    run = Chain().run(kind)

    answer = await run.call(step_hash("s0"))

    assert answer.titles == ["StepRun s0"]
    assert not run.requests


@pytest.mark.parametrize(
    ("of_app", "of_function", "calls"), [(False, None, 4), (False, True, 1), (True, False, 4), (True, None, 1)]
)
async def test_an_app_or_a_function_may_switch_it_off(of_app: bool, of_function: bool | None, calls: int) -> None:
    sw = new_app(checkpoint=of_app)

    @sw.function("f", on="test/event", checkpoint=of_function)
    async def f(step: Step) -> None:
        for number in range(3):
            await step.run(f"s{number}", lambda: None)

    run = CheckpointedRun(sw, "f")
    await run.end()

    assert len(run.answers) == calls


# What ends a call ------------------------------------------------------------------------------------------------------


async def test_a_failed_step_ends_the_call_and_is_tried_again(kind: tuple[str, bool]) -> None:
    chain = Chain(3)
    fails = [True]
    plain = chain.body

    def flaky(number: int) -> Any:
        value = plain(number)
        if number == 1 and fails:
            fails.pop()
            time.sleep(0.02)
            raise ValueError("no")
        return value

    chain.body = flaky
    run = chain.run(kind)
    end = await run.end()

    assert end.body == [0, 1, 2]
    # The attempt after the failure reports its step and goes no further: the next call has attempt 0 again (protocol 7.3).
    assert run.titles == [["StepError s1"], ["StepRun s1"], ["200"]]
    assert chain.ran == [0, 1, 1, 2]
    ran_ms = run.answers[0].ops[0].ran_ms
    assert ran_ms is not None  # by which the server knows when it began
    assert 20 <= ran_ms < 5_000


async def test_what_the_server_does_ends_the_call(kind: tuple[str, bool]) -> None:
    sw = new_app()

    @sw.function("async", on="test/event")
    async def in_async(step: Step) -> Any:
        first = await step.run("a", lambda: 1)
        await step.sleep("nap", "1h")
        rest = await asyncio.gather(step.run("b", lambda: 2), step.run("c", lambda: 3))
        return [first, *rest, await step.run("d", lambda: 4)]

    @sw.function("sync", on="test/event")
    def in_sync(step: SyncStep) -> Any:
        first = step.run("a", lambda: 1)
        step.sleep("nap", "1h")
        rest = step.parallel([lambda: step.run("b", lambda: 2), lambda: step.run("c", lambda: 3)])
        return [first, *rest, step.run("d", lambda: 4)]

    run = CheckpointedRun(sw, kind[0], is_sync=kind[1])
    end = await run.end()

    assert end.body == [1, 2, 3, 4]
    assert run.titles == [
        ["Sleep nap"],
        ["StepPlanned b", "StepPlanned c"],
        ["StepRun b"],
        ["StepRun c"],
        ["200"],
    ]
    assert [one.steps[0].title for one in run.checkpoints] == ["a", "d"]


async def test_after_its_time_a_call_begins_no_further_step(kind: tuple[str, bool]) -> None:
    chain = Chain(3, max_runtime=0)
    run = chain.run(kind)

    end = await run.end()

    assert end.body == [0, 1, 2]
    assert [answer.ops[0].op if answer.ops else "end" for answer in run.answers] == [
        "DiscoveryRequest",
        "DiscoveryRequest",
        "end",
    ]
    assert chain.ran == [0, 1, 2]


@pytest.mark.parametrize("max_runtime", [-1, "soon"])
def test_a_time_that_is_none_is_refused(max_runtime: Any) -> None:
    with pytest.raises(FunctionConfigError, match="app 'acme': max_runtime"):
        new_app(max_runtime=max_runtime)
    with pytest.raises(FunctionConfigError, match="function 'f': max_runtime"):
        new_app().function("f", on="a", max_runtime=max_runtime)(lambda: None)


async def test_a_step_that_was_given_up_is_for_a_replay() -> None:
    """Going on, the handler would come out of its time-out; a replay, which has the result, would not."""
    sw = new_app()
    given_up = asyncio.Event()

    async def slow() -> str:
        await given_up.wait()
        return "in time"

    @sw.function("f", on="test/event")
    async def f(step: Step) -> str:
        try:
            async with asyncio.timeout(0.01):
                return await step.run("slow", slow)
        except TimeoutError:
            given_up.set()
            await step.run("other", lambda: None)
            return "too late"

    run = CheckpointedRun(sw, "f")
    end = await run.end()

    assert run.titles == [["StepRun slow"], ["200"]]
    assert end.body == "in time"


async def test_a_step_that_is_given_up_while_it_is_stored_is_for_a_replay() -> None:
    sw = new_app()
    tasks: list[asyncio.Task[Any]] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> str:
        tasks.append(asyncio.create_task(step.run("a", lambda: 1)))
        try:
            await tasks[-1]
        except asyncio.CancelledError:
            return "gave up"
        return "went on"

    run = CheckpointedRun(sw, "f")
    run.before = lambda _: tasks[-1].cancel()
    end = await run.end()

    assert [answer.ops[0].op if answer.ops else "end" for answer in run.answers] == ["DiscoveryRequest", "end"]
    assert end.body == "went on"


# What the server says --------------------------------------------------------------------------------------------------


async def test_a_call_that_has_been_replaced_stops_at_once(
    kind: tuple[str, bool], caplog: pytest.LogCaptureFixture
) -> None:
    chain = Chain(3)
    run = chain.run(kind)
    run.statuses.extend([200, 409])

    with caplog.at_level(logging.WARNING):
        answer = await run.call()

    assert (answer.status, answer.body["name"]) == (400, "StaleDispatchError")
    assert answer.headers[headers.NO_RETRY] == "true"
    assert (chain.ran, chain.ends, len(run.requests)) == ([0, 1], 1, 2)
    assert not caplog.records


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_server_in_trouble_is_asked_again(status: int, kind: tuple[str, bool]) -> None:
    chain = Chain(3)
    run = chain.run(kind)
    run.statuses.extend([200, status, status, status, status])

    end = await run.end()

    assert end.body == [0, 1, 2]
    assert len(run.answers) == 1
    assert [one.steps[0].title for one in run.checkpoints] == ["s0", *["s1"] * 5, "s2"]
    assert chain.ran == [0, 1, 2]


async def test_a_step_that_could_not_be_stored_is_reported_as_the_answer(
    kind: tuple[str, bool], caplog: pytest.LogCaptureFixture
) -> None:
    chain = Chain(3)
    run = chain.run(kind)
    run.statuses.extend([200] + [500] * 5)

    end = await run.end()

    # An app whose server doesn't answer tries no more for a while: each step would wait for all attempts.
    assert run.titles == [["StepRun s1"], ["StepRun s2"], ["200"]]
    assert len(run.requests) == 6
    assert (end.body, chain.ran) == ([0, 1, 2], [0, 1, 2])
    assert [record.levelname for record in caplog.records if "can't be reported" in record.message] == ["WARNING"]
    assert "HTTP 500: refused" in caplog.text


async def test_a_step_whose_report_has_no_answer_is_soon_the_answer(
    kind: tuple[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Server A may hang with a report while server B, which called, is told to stop and waits for the call."""
    monkeypatch.setattr(checkpoint, "PATIENCE_S", 0.05)
    chain = Chain(3)
    run = chain.run(kind)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hang) as url:
        chain.sw.client = Client(msgspec.structs.replace(chain.sw.settings, api_origin=url))
        end = await run.end()

    assert run.titles == [["StepRun s0"], ["StepRun s1"], ["StepRun s2"], ["200"]]
    assert (end.body, chain.ran) == ([0, 1, 2], [0, 1, 2])


@pytest.mark.parametrize("status", [400, 404, 405, 413, 501])
async def test_a_refused_step_is_reported_as_the_answer_and_the_next_goes_on(
    status: int, kind: tuple[str, bool]
) -> None:
    chain = Chain(4)
    run = chain.run(kind)
    run.statuses.extend([200, status])

    end = await run.end()

    assert run.titles == [["StepRun s1"], ["200"]]
    assert (end.body, chain.ran, len(run.requests)) == ([0, 1, 2, 3], [0, 1, 2, 3], 4)


def test_an_app_tries_again_after_its_pause() -> None:
    at = [0.0]
    pause = checkpoint.Pause(lambda: at[0])

    pause.begin(checkpoint.Incoming(0, b"refused"))
    assert pause.is_on
    at[0] = checkpoint.PAUSE_S

    assert not pause.is_on


async def test_without_checkpoints_a_run_is_the_same(kind: tuple[str, bool]) -> None:
    chain = Chain(3)

    run = PretendRun(chain.sw, kind[0], is_sync=kind[1])
    end = await run.end()

    assert run.titles == [["StepRun s0"], ["StepRun s1"], ["StepRun s2"], ["200"]]
    assert end.body == [0, 1, 2]
