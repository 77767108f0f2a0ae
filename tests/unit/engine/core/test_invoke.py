"""Invoked functions: the event of the child, and what its end means to the parent (protocol 2.6, 4.8)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.invoke import (
    correlation_id,
    end_resolution,
    invocation_event,
    not_found_memo,
    skipped_resolution,
    timed_out_memo,
)
from stepwell.engine.core.model import ErrorBody, Invocation, Run, RunStatus
from stepwell.protocol.ids import RunId, StepId
from tests.unit.engine.making import DEV, T0, Machine, function_of, ulid

PARENT, STEP = RunId(ulid(8, "R")), StepId("step-1")


def ended(status: RunStatus, **more: Any) -> Run:
    """Make a child's run that has ended."""
    return msgspec.structs.replace(Machine().run, status=status, **{"output": b"{}", **more})


def failure(memo: bytes) -> dict[str, Any]:
    return msgspec.json.decode(memo)["error"]


def test_the_childs_event_has_the_data_and_says_who_asks() -> None:
    machine = Machine()
    invocation = Invocation(STEP, "app-g", b'{"n":1}', b'{"id":2}', "3", T0 + 1_000, title="call g")

    event = invocation_event(invocation, machine.run, function_of(), id=ulid(1), environment=DEV, now=T0)

    body = msgspec.json.decode(event.body)
    assert (event.name, event.is_internal) == ("inngest/function.invoked", True)
    assert (body["data"]["n"], body["user"], body["v"]) == (1, {"id": 2}, "3")
    said = body["data"]["_inngest"]
    assert (said["fn_id"], said["expire"], said["source_fn_id"]) == ("app-g", T0 + 1_000, function_of().id)
    assert said["correlation_id"] == correlation_id(machine.run.id, STEP)


def test_the_parent_gets_what_the_child_returned() -> None:
    found = end_resolution((PARENT, STEP), ended(RunStatus.COMPLETED, output=b'{"x":1}'), None, None)

    assert (found.run_id, found.step_id, found.memo) == (PARENT, STEP, b'{"data":{"x":1}}')


def test_the_parent_gets_the_childs_error() -> None:
    found = end_resolution((PARENT, STEP), ended(RunStatus.FAILED), ErrorBody(name="TypeError", message="boom"), None)

    assert (failure(found.memo)["name"], failure(found.memo)["message"]) == ("TypeError", "boom")


def test_a_cancelled_child_is_an_error() -> None:
    found = end_resolution((PARENT, STEP), ended(RunStatus.CANCELLED), None, None)

    assert "cancelled" in failure(found.memo)["message"]


@pytest.mark.parametrize("reason", ["rate_limited", "singleton", "paused", "idempotency", "another reason"])
def test_a_child_that_was_not_started_is_an_error_that_says_why(reason: str) -> None:
    found = skipped_resolution(PARENT, STEP, reason)

    assert (found.run_id, found.step_id) == (PARENT, STEP)
    assert failure(found.memo)["message"].startswith("invoked function")


def test_a_function_that_is_not_there_and_one_that_takes_too_long_are_errors() -> None:
    assert "app-x" in failure(not_found_memo("app-x"))["message"]
    assert failure(timed_out_memo())["name"] == "InngestInvokeTimeoutError"
