"""Where the time of a run went."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.engine.core.model import Attempt, Job, JobKind, Outcome, Run, Step
from stepwell.protocol.ids import AttemptId, EnvironmentId, EventId, FunctionId, JobId, ReplicaId, RunId, StepId
from stepwell.protocol.ops import OpCode
from stepwell.server.api.durations import Durations, Span, divide, durations

RUN = Run(RunId("r"), EnvironmentId("dev"), FunctionId("f"), 1, EventId("e"), queued_at=0)


def attempt(start: int, end: int, *, step: str = "step", number: int = 0, retry_at: int | None = None) -> Attempt:
    return Attempt(RUN.id, AttemptId(""), step, "", number, start, end, Outcome.OK, retry_at=retry_at)


def step(op: OpCode, start: int, end: int, *, id: str = "s") -> Step:
    return Step(RUN.id, StepId(id), 0, op, "", b"null", start, end)


def job(kind: JobKind, *, created: int = 0, due: int = 0, leased: int | None = None) -> Job:
    job = Job(RUN.id, JobId("j"), "f", kind, "s", due, created, 1)
    return job if leased is None else msgspec.structs.replace(job, owner=ReplicaId("me"), leased_at=leased)


def parts(found: Durations) -> tuple[int, int, int, int, int]:
    return found.queued_ms, found.code_ms, found.waiting_ms, found.sleeping_ms, found.overhead_ms


@pytest.mark.parametrize(
    ("attempts", "steps", "jobs", "expected"),
    [
        pytest.param([], [], [job(JobKind.DISCOVER)], (100, 0, 0, 0, 0), id="it hasn't begun"),
        pytest.param([], [], [job(JobKind.DISCOVER, due=70)], (30, 0, 0, 70, 0), id="its event is dated ahead"),
        pytest.param([], [], [job(JobKind.DISCOVER, leased=40)], (40, 60, 0, 0, 0), id="its first call is under way"),
        pytest.param([attempt(10, 30)], [], [], (10, 20, 0, 0, 70), id="what nothing explains is overhead"),
        pytest.param(
            [attempt(0, 10), attempt(60, 100)], [step(OpCode.SLEEP, 10, 50)], [], (0, 50, 0, 40, 10), id="a sleep"
        ),
        pytest.param([attempt(0, 10)], [], [job(JobKind.TIMER, created=10, due=900)], (0, 10, 0, 90, 0), id="asleep"),
        pytest.param([attempt(0, 10)], [], [job(JobKind.WAIT, created=10, due=900)], (0, 10, 90, 0, 0), id="waiting"),
        pytest.param(
            [attempt(0, 10)],
            [step(OpCode.INVOKE_FUNCTION, 10, 60), step(OpCode.WAIT_FOR_SIGNAL, 40, 100)],
            [],
            (0, 10, 90, 0, 0),
            id="two waits at once",
        ),
        pytest.param(
            [attempt(0, 100)],
            [step(OpCode.WAIT_FOR_EVENT, 20, 80)],
            [job(JobKind.TIMER, created=0)],
            (0, 100, 0, 0, 0),
            id="code goes before all else",
        ),
        pytest.param(
            [attempt(0, 10)],
            [step(OpCode.WAIT_FOR_EVENT, 20, 40)],
            [job(JobKind.TIMER, created=10, due=900)],
            (0, 10, 20, 70, 0),
            id="waiting goes before sleeping",
        ),
        pytest.param(
            [attempt(0, 10, retry_at=50), attempt(80, 90, number=1)],
            [],
            [],
            (30, 20, 0, 40, 10),
            id="a retry sleeps until it is due, and then queues",
        ),
        pytest.param(
            [attempt(0, 10, retry_at=50)],
            [],
            [job(JobKind.STEP, created=10, due=50)],
            (50, 10, 0, 40, 0),
            id="a retry that is due",
        ),
        pytest.param(
            [attempt(0, 10), attempt(10, 60, step="s")],
            [step(OpCode.AI_GATEWAY, 10, 60)],
            [],
            (0, 10, 50, 0, 40),
            id="a request that the server made is no code",
        ),
        pytest.param([attempt(0, 10)], [], [job(JobKind.FETCH, leased=20)], (0, 10, 80, 0, 10), id="a request"),
        pytest.param(
            [attempt(0, 100)], [], [job(JobKind.TIMEOUT, due=900)], (0, 100, 0, 0, 0), id="a guard is nothing"
        ),
    ],
)
def test_the_time_of_a_run_is_divided(
    attempts: list[Attempt], steps: list[Step], jobs: list[Job], expected: tuple[int, ...]
) -> None:
    assert parts(durations(RUN, attempts, steps, jobs, now=100)) == expected


def test_a_run_that_has_ended_has_no_more_time() -> None:
    ended = msgspec.structs.replace(RUN, ended_at=50)

    assert parts(durations(ended, [attempt(10, 70)], [], [], now=1_000)) == (10, 40, 0, 0, 0)
    assert parts(durations(ended, [], [], [], now=1_000)) == (50, 0, 0, 0, 0)


def test_a_clock_that_went_back_makes_no_negative_time() -> None:
    assert parts(durations(RUN, [], [], [job(JobKind.DISCOVER)], now=-5)) == (0, 0, 0, 0, 0)


spans = st.lists(
    st.builds(Span, st.integers(-5, 40), st.integers(-5, 40), st.integers(0, 3)),
    max_size=12,
)


@given(spans, st.integers(0, 10), st.integers(10, 35))
def test_each_moment_counts_once_for_the_first_part_that_holds(given_spans: list[Span], start: int, end: int) -> None:
    expected = [0, 0, 0, 0]
    for at in range(start, end):
        holding = [span.part for span in given_spans if span.start <= at < span.end]
        if holding:
            expected[min(holding)] += 1

    assert divide(given_spans, start, end) == expected
