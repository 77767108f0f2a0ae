"""Runs of durable endpoints (protocol 7.4): what reports of the app change."""

from __future__ import annotations

import msgspec
import pytest

from stepwell.engine.core.change import Policy
from stepwell.engine.core.endpoint import begin, called_request, endpoint_config, report, request_data
from stepwell.engine.core.model import Function, JobKind, RunStatus, Transition
from stepwell.engine.core.state import RunState
from stepwell.engine.core.trigger import Registry
from stepwell.limits import ENDPOINT_SILENCE_MS
from stepwell.protocol.canonical import encode
from stepwell.protocol.endpoint import HttpRequest
from stepwell.protocol.ids import RunId
from stepwell.protocol.ops import Op
from stepwell.protocol.sync import decode_function
from tests.unit.engine.making import DEV, ME, T0, event_of, function_of, op, step_id, ulid

REQUEST = HttpRequest(domain="http://localhost:3000", method="POST", path="/orders", query_params="a=1", body='{"b":1}')
CONFIG = decode_function(msgspec.json.encode(endpoint_config(REQUEST, 4)))
F: Function = msgspec.structs.replace(function_of(), config=CONFIG, slug=CONFIG.id)
SECOND = 1000


def begun() -> RunState:
    intake = begin(RunId(ulid(1, "R")), encode({"path": "/orders"}), F, Registry(DEV, 1, [F]), now=T0, new_id=str)
    [start] = intake.starts
    return RunState(start.run, intake.event.body, (), (start.job,))


def told(state: RunState, *ops: Op, at: int = T0 + SECOND, policy: Policy | None = None) -> Transition | None:
    transition = report(
        state, ops, request_version=2, at=at, chance=0.0, function=F, policy=policy or Policy(retry_constant_ms=SECOND)
    )
    if transition is not None:
        state.apply(transition)
    return transition


def jobs(state: RunState) -> list[tuple[JobKind, int]]:
    return [(job.kind, job.due_at - T0) for job in state.jobs.values()]


def taken(state: RunState) -> None:
    """The server has claimed the watch."""
    [job] = state.jobs.values()
    state.put(msgspec.structs.replace(job, owner=ME, generation=1, leased_at=job.due_at))


def test_a_run_that_begins_in_the_app_is_watched() -> None:
    state = begun()

    assert jobs(state) == [(JobKind.DISCOVER, ENDPOINT_SILENCE_MS)]
    assert (state.run.status, state.run.started_at) == (RunStatus.RUNNING, T0)


def test_each_report_of_steps_puts_the_watch_off() -> None:
    state = begun()
    for number in range(1, 4):
        transition = told(state, op("StepRun", f"s{number}", data=number), at=T0 + number)

        assert transition is not None
        assert jobs(state) == [(JobKind.DISCOVER, ENDPOINT_SILENCE_MS + number)]

    assert state.stack == [step_id(f"s{number}") for number in range(1, 4)]
    assert (state.run.status, state.run.request_version) == (RunStatus.RUNNING, 2)


def test_a_report_that_says_nothing_new_changes_nothing() -> None:
    state = begun()
    told(state, op("StepRun", "a", data=1))

    assert told(state, op("StepRun", "a", data=2)) is None
    assert told(state) is None


@pytest.mark.parametrize(
    ("ops", "due"),
    [
        ([op("Sleep", value="1h")], [(JobKind.TIMER, 3_601_000)]),
        ([op("StepPlanned")], [(JobKind.STEP, SECOND)]),
        ([op("StepFailed", error={"name": "E", "message": "m"})], [(JobKind.DISCOVER, SECOND)]),
        ([op("StepError", error={"name": "E", "message": "m"})], [(JobKind.DISCOVER, 2 * SECOND)]),
        ([op("DiscoveryRequest")], [(JobKind.DISCOVER, SECOND)]),
        ([op("StepRun", "a"), op("Sleep", value="1h")], [(JobKind.TIMER, 3_601_000)]),  # the app knows of a
    ],
)
def test_what_only_the_server_can_do_becomes_its_job_now(ops: list[Op], due: list[tuple[JobKind, int]]) -> None:
    state = begun()

    told(state, *ops)

    assert jobs(state) == due


def test_errors_of_the_function_use_up_its_attempts() -> None:
    state = begun()
    end = op("StepError", "complete", error={"name": "E", "message": "m"})

    told(state, end)

    [job] = state.jobs.values()
    assert (job.attempt, state.run.status, state.stack) == (1, RunStatus.RUNNING, [])
    assert told(state, end) is None, "a retry of the server is no watch"


def test_a_run_over_a_limit_fails() -> None:
    state = begun()

    told(state, *(op("StepRun", f"s{number}") for number in range(3)), policy=Policy(steps_max=2))

    assert (state.run.status, state.run.reason) == (RunStatus.FAILED, "InngestErrFunctionOverflowed")


def test_once_the_server_calls_only_results_count() -> None:
    state = begun()
    taken(state)

    assert told(state, op("Sleep", value="1h")) is None
    assert told(state, op("StepError", "complete")) is None
    transition = told(state, op("StepRun", "a"), op("StepPlanned", "b"))
    assert transition is not None
    assert (transition.job, transition.kept, transition.jobs, state.stack) == (None, None, (), [step_id("a")])
    assert len(state.jobs) == 1
    told(state, op("SyncRunComplete", "complete", data={"n": 1}))
    assert (state.run.status, state.run.output) == (RunStatus.COMPLETED, b'{"n":1}')


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ("", b""),
        ('{"a":1}', b'{"a":1}'),
        ("eyJhIjoxfQ==", b'{"a":1}'),
        ("1234", b"1234"),  # JSON, though it were base64 as well
        ("a=1&b=2", b"a=1&b=2"),
        ("test", b"test"),  # base64 of no text
    ],
)
def test_a_body_is_read_as_text_or_base64(body: str, content: bytes) -> None:
    assert HttpRequest(body=body).content == content


def test_only_what_the_app_has_said_is_called() -> None:
    data = {"domain": "http://elsewhere", "path": "/x", "method": "GET"}
    own, invoked = event_of(name="inngest/http.request", data=data), event_of(data=data)

    assert called_request(own.body, F).url == "http://elsewhere/x"
    assert called_request(invoked.body, F).url == "http://localhost:3000/orders"
    assert request_data(b'{"b":1,"_inngest":{"correlation_id":"x"},"a":2}') == b'{"a":2,"b":1}'
