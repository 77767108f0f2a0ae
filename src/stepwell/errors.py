"""Every public exception of Stepwell.

StepwellError
├── UsageError                the caller did something that can't work
│   ├── ConfigError           a setting or flag is missing or wrong
│   ├── ExpressionError       a CEL expression can't be parsed or isn't allowed here
│   ├── CronError             a cron schedule can't be parsed
│   ├── DurationError         a duration can't be parsed
│   ├── FunctionConfigError   a function's configuration is invalid (the sync is refused)
│   ├── EventError            an event is malformed or over a limit
│   ├── FetchError            a step asks the server for a request that can't be made
│   └── StepUsageError        steps are used in a way that can't be made durable
├── SendError                 the server didn't accept events
├── StoreError                the database failed
│   ├── StoreUnavailable      it can't be reached or can't write now: the same may go through later
│   ├── QueryTimeout          a question of the dashboard took too long
│   └── StoreClosed           the store is shutting down
└── FunctionError             control flow in user code
    ├── NonRetriableError     fail now, without further attempts
    ├── RetryAfterError       try again after a given time
    └── StepError             a step failed for good; carries the original error
        └── InvokeTimeoutError  an invoked function didn't end in time

Whose fault it is shows in the type. Each class has a stable ``code``, which the HTTP APIs and logs carry.
"""

from __future__ import annotations

import datetime


class StepwellError(Exception):
    """Root of all errors that Stepwell raises on purpose."""

    code = "error"


class UsageError(StepwellError):
    """The caller did something that can't work; the message says what to do instead."""

    code = "usage"


class ConfigError(UsageError):
    """A setting or flag is missing or wrong."""

    code = "config"


class ExpressionError(UsageError):
    """A CEL expression can't be parsed, or uses what isn't allowed where it stands."""

    code = "invalid_expression"


class CronError(UsageError):
    """A cron schedule can't be parsed."""

    code = "invalid_cron"


class DurationError(UsageError):
    """A duration can't be parsed, or is out of range."""

    code = "invalid_duration"


class FunctionConfigError(UsageError):
    """A function's configuration is invalid."""

    code = "invalid_function"


class EventError(UsageError):
    """An event is malformed or over a limit; ``path`` names the place in the request (``$[3].name``)."""

    code = "invalid_event"

    def __init__(self, message: str, *, path: str = "$", code: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        if code is not None:
            self.code = code


class FetchError(UsageError):
    """A step asks the server for a request that can't be made (``step.fetch``, ``step.ai.infer``)."""

    code = "invalid_fetch"


class StepUsageError(UsageError):
    """Steps are used in a way that can't be made durable (a step inside a step, say)."""

    code = "step_usage"


class SendError(StepwellError):
    """The server didn't accept the events; ``status`` is its HTTP status, or None when it wasn't reached."""

    code = "send_failed"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class StoreError(StepwellError):
    """The database failed; nothing of the transaction was written, unless the message says that it isn't known."""

    code = "store"


class StoreUnavailable(StoreError):
    """The database can't be reached, or can't write, now: it restarts, fails over, its disk is full.

    Whether a commit went through isn't known when the connection broke in the middle of it.
    """

    code = "store_unavailable"


class QueryTimeout(StoreError):
    """A question of the dashboard took too long, and was broken off."""

    code = "query_timeout"

    @classmethod
    def after(cls, s: float) -> QueryTimeout:
        """Make the error of a question that was given so many seconds."""
        return cls(f"the search took longer than {s:g} s: narrow the time range")


class StoreClosed(StoreError):
    """The store is shutting down and takes no more work."""

    code = "store_closed"


class FunctionError(StepwellError):
    """Control flow that user code raises, or sees, in functions."""

    code = "function"


class NonRetriableError(FunctionError):
    """Raise it in a function or step to fail now, without further attempts."""

    code = "non_retriable_error"


class RetryAfterError(FunctionError):
    """Raise it in a function or step to be tried again after ``retry_after``: seconds, a timedelta or a UTC time."""

    code = "retry_after_error"

    def __init__(self, message: str, retry_after: float | datetime.timedelta | datetime.datetime) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StepError(FunctionError):
    """A step failed for good. ``name``, ``message`` and ``traceback`` are those of the original error.

    ``data`` is what the error carried beside, in JSON: the answer of an AI provider, say; None for nothing.
    """

    code = "step_error"

    def __init__(self, message: str, *, name: str = "Error", traceback: str = "", data: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.name = name
        self.traceback = traceback
        self.data = data


class InvokeTimeoutError(StepError):
    """An invoked function didn't end in time. Its run goes on, but its result comes nowhere."""

    code = "invoke_timeout"
