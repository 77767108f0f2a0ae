"""Stepwell: durable, event-driven functions for Python."""

from __future__ import annotations

from stepwell.errors import (
    ConfigError,
    EventError,
    FunctionConfigError,
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
from stepwell.sdk.function import Failure, Function, Run
from stepwell.sdk.step import Step, SyncStep
from stepwell.sdk.trigger import cron, trigger

__all__ = [
    "ConfigError",
    "Event",
    "EventError",
    "Failure",
    "Function",
    "FunctionConfigError",
    "Interrupted",
    "NonRetriableError",
    "RetryAfterError",
    "Run",
    "RunningStep",
    "SendError",
    "Step",
    "StepError",
    "StepUsageError",
    "Stepwell",
    "StepwellError",
    "SyncStep",
    "cron",
    "current_step",
    "trigger",
]
