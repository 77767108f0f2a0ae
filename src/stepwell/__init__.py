"""Stepwell: durable, event-driven functions for Python."""

from __future__ import annotations

from stepwell.errors import (
    ConfigError,
    EventError,
    FunctionConfigError,
    InvokeTimeoutError,
    NonRetriableError,
    RetryAfterError,
    SendError,
    StepError,
    StepUsageError,
    StepwellError,
)
from stepwell.sdk.app import Stepwell
from stepwell.sdk.assignment import Interrupted
from stepwell.sdk.current import RunningStep, current_step
from stepwell.sdk.event import Event
from stepwell.sdk.fetch import FetchResponse
from stepwell.sdk.flow import Batch, CancelOn, Concurrency, Debounce, RateLimit, Singleton, Throttle, Timeouts
from stepwell.sdk.function import Failure, Function, Run
from stepwell.sdk.step import Step
from stepwell.sdk.step_sync import SyncStep
from stepwell.sdk.trigger import cron, trigger
from stepwell.sdk.wait import Signal

__all__ = [
    "Batch",
    "CancelOn",
    "Concurrency",
    "ConfigError",
    "Debounce",
    "Event",
    "EventError",
    "Failure",
    "FetchResponse",
    "Function",
    "FunctionConfigError",
    "Interrupted",
    "InvokeTimeoutError",
    "NonRetriableError",
    "RateLimit",
    "RetryAfterError",
    "Run",
    "RunningStep",
    "SendError",
    "Signal",
    "Singleton",
    "Step",
    "StepError",
    "StepUsageError",
    "Stepwell",
    "StepwellError",
    "SyncStep",
    "Throttle",
    "Timeouts",
    "cron",
    "current_step",
    "trigger",
]
