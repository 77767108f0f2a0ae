"""What a step was given, as people are shown it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.model import Job, JobKind
from stepwell.engine.core.step_input import input_of, step_input
from stepwell.limits import STEP_INPUT_KEPT_BYTES_MAX
from stepwell.protocol.ids import JobId, RunId
from tests.unit.engine.making import op

KEY = "sk-0123456789abcdef"


def fetching(code: str, options: dict[str, Any]) -> Any:
    """Return what is shown of a request that the server makes."""
    job = Job(
        run_id=RunId("R"),
        id=JobId("1.0"),
        partition="",
        kind=JobKind.FETCH,
        step_id="s",
        op=code,
        due_at=0,
        created_at=0,
        max_attempts=1,
        payload=msgspec.json.encode(options),
    )
    shown = input_of(job)
    return msgspec.json.decode(shown) if shown is not None else None


@pytest.mark.parametrize(
    ("code", "opts", "shown"),
    [
        ("StepRun", {"input": [1, {"a": 2}]}, b'[1,{"a":2}]'),
        ("StepRun", {"type": "step.sendEvent"}, None),
        ("StepPlanned", {"input": []}, None),
        ("StepError", {"input": [7]}, b"[7]"),
        ("Sleep", {"duration": "3d"}, b'{"duration":"3d"}'),
        ("WaitForEvent", {"event": "x", "if": "a", "timeout": "1d", "seen": ["b"], "since": "run_start"},
         b'{"event":"x","if":"a","timeout":"1d"}'),
        ("WaitForSignal", {"signal": "s", "timeout": "1d", "conflict": "fail"},
         b'{"conflict":"fail","signal":"s","timeout":"1d"}'),
        ("InvokeFunction", {"function_id": "a-b", "payload": {"data": {"n": 1}}},
         b'{"function_id":"a-b","payload":{"data":{"n":1}}}'),
    ],
)  # fmt: skip
def test_an_op_says_what_its_step_was_given(code: str, opts: dict[str, Any], shown: bytes | None) -> None:
    given = msgspec.structs.replace(op(code, "s", opts=opts), name=None)

    assert step_input(given) == shown


def test_what_the_name_of_an_op_says_counts() -> None:
    assert step_input(msgspec.structs.replace(op("Sleep", "s"), name="10s")) == b'{"duration":"10s"}'


def test_an_input_over_the_limit_is_not_kept() -> None:
    fits = "x" * (STEP_INPUT_KEPT_BYTES_MAX - 4)

    assert step_input(op("StepRun", "s", opts={"input": [fits]})) is not None
    assert step_input(op("StepRun", "s", opts={"input": [fits + "x"]})) is None


def test_an_input_that_cannot_be_kept_fails_nothing() -> None:
    assert step_input(op("StepRun", "s", opts={"input": [float("nan")]})) is None


def test_a_request_is_shown_without_its_secrets() -> None:
    shown = fetching(
        "Gateway",
        {
            "url": f"https://me:{KEY}@x.test/a?api_key=short&q=1",
            "method": "POST",
            "headers": {"Authorization": f"Bearer {KEY}", "X-Tenant": "acme"},
            "body": f'{{"n":1,"echo":"{KEY}"}}',
        },
    )

    assert shown["url"] == "https://x.test/a?api_key=***&q=1"
    assert shown["headers"]["authorization"] == "***"
    assert shown["headers"]["x-tenant"] == "acme"
    assert shown["body"] == {"n": 1, "echo": "***"}


@pytest.mark.parametrize("provider", ["openai-chat", "anthropic", "gemini", "bedrock"])
def test_a_model_s_key_is_shown_nowhere(provider: str) -> None:
    shown = fetching(
        "AIGateway",
        {
            "url": "https://x.test/v1",
            "format": provider,
            "auth_key": KEY,
            "body": {"model": "m", "prompt": f"I am {KEY}"},
        },
    )

    assert shown["body"] == {"model": "m", "prompt": "I am ***"}
    assert KEY not in str(shown)


def test_a_request_that_cannot_be_made_or_is_large_shows_nothing() -> None:
    assert fetching("Gateway", {"url": "nowhere"}) is None
    assert fetching("Gateway", {"url": "https://x.test", "body": "x" * STEP_INPUT_KEPT_BYTES_MAX}) is None
