"""How errors are described on the wire, and when they ask to be tried again."""

from __future__ import annotations

import datetime

import pytest

from stepwell import NonRetriableError, RetryAfterError, StepError, StepUsageError
from stepwell.sdk.outcome import TRACEBACK_CHARS_MAX, code_of, describe, is_final, retry_after

UTC_NOON = datetime.datetime(2030, 1, 31, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("after", "header"),
    [
        (0, "0"),
        (90, "90"),
        (1.2, "2"),
        (-5, "0"),
        (10**9, "86400"),
        (datetime.timedelta(minutes=2), "120"),
        (UTC_NOON, "2030-01-31T12:00:00.000Z"),
        (UTC_NOON.astimezone(datetime.timezone(datetime.timedelta(hours=1))), "2030-01-31T12:00:00.000Z"),
        (UTC_NOON.replace(tzinfo=None), "2030-01-31T12:00:00.000Z"),
    ],
)
def test_retry_after_is_whole_seconds_or_a_time(
    after: float | datetime.timedelta | datetime.datetime, header: str
) -> None:
    assert retry_after(RetryAfterError("later", after)) == header


@pytest.mark.parametrize(
    ("error", "final", "code"),
    [
        (ValueError("x"), False, "unknown"),
        (RetryAfterError("x", 1), False, "retry_after_error"),
        (NonRetriableError("x"), True, "non_retriable_error"),
        (StepError("x"), True, "step_error"),
        (StepUsageError("x"), True, "step_usage"),
        (ExceptionGroup("x", [StepError("x"), ExceptionGroup("y", [NonRetriableError("x")])]), True, "unknown"),
        (ExceptionGroup("x", [StepError("x"), ValueError("x")]), False, "unknown"),
    ],
)
def test_an_error_is_final_when_trying_again_cannot_help(error: Exception, final: bool, code: str) -> None:
    assert (is_final(error), code_of(error)) == (final, code)


def test_a_step_error_is_described_as_the_original_error() -> None:
    error = StepError("no stock", name="ValueError", traceback="Traceback of the step")

    assert describe(error) == {"name": "ValueError", "message": "no stock", "stack": "Traceback of the step"}


def test_of_an_overlong_traceback_the_end_is_kept() -> None:
    stack = describe(ValueError("x" * TRACEBACK_CHARS_MAX + "the end"))["stack"]

    assert len(stack) == TRACEBACK_CHARS_MAX + 1
    assert stack.startswith("…")
    assert stack.endswith("the end\n")


def test_an_error_that_cannot_be_written_is_described_by_its_name() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe(BrokenError())["name"] == "BrokenError"
    assert describe(BrokenError())["message"] == ""
