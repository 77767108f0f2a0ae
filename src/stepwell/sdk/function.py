"""A function: a handler, what starts it, and what it is given when it is called."""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import typing
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from stepwell.errors import DurationError, FunctionConfigError
from stepwell.limits import RETRIES_DEFAULT, RETRIES_MAX
from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import Duration, duration_ms
from stepwell.protocol.event import FAILED
from stepwell.protocol.ids import DISCOVER
from stepwell.protocol.sync import FunctionConfig, Retries, Runtime, StepConfig, Trigger
from stepwell.sdk.event import Event, as_object, from_json
from stepwell.sdk.step import Step
from stepwell.sdk.step_sync import SyncStep

H_co = TypeVar("H_co", bound=Callable[..., Any], covariant=True)

_ID: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\Z")
_FAILURE_SUFFIX: Final = "-failure"
_FAILURE_RETRIES: Final = 1  # protocol 3.5

Source: typing.TypeAlias = typing.Literal["event", "events", "step", "run", "attempt", "logger", "error"]
_NAMES: Final[dict[str, Source]] = {name: name for name in typing.get_args(Source)}


class Run(msgspec.Struct, frozen=True):
    """The run that a handler is called for."""

    id: str
    function_id: str
    """The function's id with the app's in front."""
    attempt: int
    """0 for the first attempt at this place of the run; each step and each stretch between steps has its own."""
    max_attempts: int | None

    @property
    def is_last_attempt(self) -> bool:
        """Nothing will be tried again after this attempt."""
        return self.max_attempts is not None and self.attempt + 1 >= self.max_attempts


class Failure(msgspec.Struct, frozen=True):
    """Why a run failed: what an ``on_failure`` handler gets as ``error``."""

    name: str
    message: str
    traceback: str = ""
    run_id: str = ""
    function_id: str = ""


_TYPES: Final[dict[object, Source]] = {
    Event: "event",
    list[Event]: "events",
    Step: "step",
    SyncStep: "step",
    Run: "run",
    Failure: "error",
    logging.Logger: "logger",
    logging.LoggerAdapter: "logger",
}
_TYPE_NAMES: Final[dict[str, Source]] = {
    "Event": "event",
    "list[Event]": "events",
    "Step": "step",
    "SyncStep": "step",
    "Run": "run",
    "Failure": "error",
    "Logger": "logger",
    "LoggerAdapter": "logger",
}


def check_id(kind: str, id: str) -> str:
    """Return an id that can stand in a URL and an expression; raise ``FunctionConfigError`` for another."""
    if not isinstance(id, str) or not _ID.match(id):  # pyright: ignore[reportUnnecessaryIsInstance] - users' input
        raise FunctionConfigError(f"{id!r} can't be the id of {kind}: use letters, digits, '-', '_' and '.'")
    return id


def runtime_ms(max_runtime: Duration, whose: str) -> int:
    """Return how long calls may go on; raise ``FunctionConfigError`` for what is no duration."""
    try:
        return duration_ms(max_runtime)
    except DurationError as error:
        raise FunctionConfigError(f"{whose}: max_runtime: {error}") from None


class Function(Generic[H_co]):
    """A registered handler. Calling it calls the plain handler, for tests of its logic."""

    def __init__(
        self,
        handler: H_co,
        *,
        app_id: str,
        id: str,
        name: str | None,
        triggers: list[Trigger],
        retries: int = RETRIES_DEFAULT,
        on_failure: Callable[..., Any] | None = None,
        is_failure_handler: bool = False,
        checkpoint: bool | None = None,
        max_runtime: Duration | None = None,
        flow: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """``flow`` is what ``flow_fields`` returned."""
        if not 0 <= retries <= RETRIES_MAX:
            raise FunctionConfigError(f"function {id!r}: retries is {retries}; it goes from 0 to {RETRIES_MAX}")
        self.handler = handler
        self.id = id
        self.slug = f"{app_id}-{id}"
        self.name = name or id
        self.triggers = triggers
        self.retries = retries
        self._flow = flow
        self.is_failure_handler = is_failure_handler
        self.checkpoint = checkpoint
        self.max_runtime_ms = None if max_runtime is None else runtime_ms(max_runtime, f"function {id!r}")
        self.is_async = _is_async(handler, id)
        self._parameters = _parameters(handler, id, is_async=self.is_async, has_error=is_failure_handler)
        self.on_failure: Function[Callable[..., Any]] | None = None
        if on_failure is not None:
            self.on_failure = Function(
                on_failure,
                app_id=app_id,
                id=id + _FAILURE_SUFFIX,
                name=f"{self.name} (failure)",
                triggers=[Trigger(event=FAILED, expression=f"event.data.function_id == '{self.slug}'")],
                retries=_FAILURE_RETRIES,
                is_failure_handler=True,
                checkpoint=checkpoint,
                max_runtime=max_runtime,
            )
        self.__doc__ = handler.__doc__
        self.__wrapped__ = handler

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the plain handler."""
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Function {self.slug}>"

    def config(self, serve_url: str) -> FunctionConfig:
        """Return what the server is told of the function (protocol 3.4)."""
        query = urlencode({"fnId": self.slug, "stepId": DISCOVER})
        step = StepConfig(
            id=DISCOVER,
            name=DISCOVER,
            runtime=Runtime(url=f"{serve_url}?{query}"),
            retries=Retries(attempts=self.retries),
        )
        return FunctionConfig(
            id=self.slug, name=self.name, triggers=self.triggers, steps={DISCOVER: step}, **self._flow
        )

    def call(self, values: Mapping[Source, object]) -> Any:
        """Call the handler with what it asks for; for an async one, return its coroutine."""
        args = [values[source] for _, source, by_position in self._parameters if by_position]
        kwargs = {name: values[source] for name, source, by_position in self._parameters if not by_position}
        return self.handler(*args, **kwargs)

    def unwrap(self, events: list[Event]) -> tuple[list[Event], Failure | None]:
        """Give an ``on_failure`` handler the events of the failed run and its error; other functions their own."""
        if not self.is_failure_handler or not events:
            return events, None
        data = events[0].data
        fields = as_object(data.get("error"))
        failure = Failure(
            name=str(fields.get("name") or "Error"),
            message=str(fields.get("message") or ""),
            traceback=str(fields.get("stack") or ""),
            run_id=str(data.get("run_id") or ""),
            function_id=str(data.get("function_id") or ""),
        )
        many: list[Json] = data.get("events") or [data.get("event")]
        return [from_json(item) for item in many], failure


def _is_async(handler: Callable[..., Any], id: str) -> bool:
    for target in (handler, getattr(handler, "__call__", None)):  # noqa: B004 - an object may have an async __call__
        if inspect.isasyncgenfunction(target) or inspect.isgeneratorfunction(target):
            raise FunctionConfigError(f"function {id!r} is a generator: its handler must be a plain def or async def")
        if inspect.iscoroutinefunction(target):
            return True
    return False


def _parameters(
    handler: Callable[..., Any], id: str, *, is_async: bool, has_error: bool
) -> list[tuple[str, Source, bool]]:
    """Match each parameter to what it is given: by its name, else by its type. The bool says: by position only."""
    hints: dict[str, Any] = {}
    # Annotations may name what exists for type checkers alone; then the text of each is looked at.
    with contextlib.suppress(Exception):
        hints = typing.get_type_hints(handler)
    found: list[tuple[str, Source, bool]] = []
    for parameter in inspect.signature(handler).parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        annotation = hints.get(parameter.name, parameter.annotation)
        source = _NAMES.get(parameter.name) or _source_of(annotation)
        if source == "error" and not has_error:
            source = None
        if source is None:
            if parameter.default is not inspect.Parameter.empty:
                continue
            names = ", ".join(name for name in _NAMES if has_error or name != "error")
            raise FunctionConfigError(
                f"function {id!r}: its handler asks for {parameter.name!r}, which isn't known."
                f" A handler may ask, by name or by type, for: {names}"
            )
        if source == "step" and annotation is (SyncStep if is_async else Step):
            right, wrong = ("Step", "SyncStep") if is_async else ("SyncStep", "Step")
            form = "async def" if is_async else "plain def"
            raise FunctionConfigError(
                f"function {id!r}: its handler is {form}, so {parameter.name!r} is a {right}, not a {wrong}"
            )
        found.append((parameter.name, source, parameter.kind is inspect.Parameter.POSITIONAL_ONLY))
    return found


def _source_of(annotation: object) -> Source | None:
    if isinstance(annotation, str):
        text = annotation.replace("stepwell.", "").replace("logging.", "").strip("'\"")
        return _TYPE_NAMES.get(text.partition("[")[0] if text.startswith("LoggerAdapter") else text)
    origin = typing.get_origin(annotation)
    if origin is logging.LoggerAdapter:
        return "logger"
    with contextlib.suppress(TypeError):  # an annotation that can't be hashed is none of ours
        return _TYPES.get(annotation)
    return None
