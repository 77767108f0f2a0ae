"""Which functions an event starts (protocol 2.5), and the registered functions in a form made for that question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from stepwell.engine.core.expression import Expression, compile_expression
from stepwell.engine.core.model import Event, Function, Intake, Job, Run, RunStatus
from stepwell.engine.core.run import first_job
from stepwell.errors import ExpressionError
from stepwell.protocol import event as events
from stepwell.protocol.canonical import Json, encode
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, RunId

_PREFIX_END: Final = re.compile(r"[/.]")
_NAMES_KEPT_MAX: Final = 4096


class _Condition(msgspec.Struct, frozen=True):
    function: Function
    expression: Expression | None


class Registry:
    """The functions of one environment at one revision. Immutable: a sync makes another."""

    def __init__(self, environment: EnvironmentId, revision: int, functions: Iterable[Function]) -> None:
        self.environment = environment
        self.revision = revision
        self.by_id: dict[FunctionId, Function] = {}
        self.by_slug: dict[str, Function] = {}
        self._by_event: dict[str, list[_Condition]] = {}
        self._by_name: dict[str, list[_Condition]] = {}
        """What was found for names of events."""
        for function in functions:
            self.by_id[function.id] = function
            if function.is_archived:
                continue
            self.by_slug[function.slug] = function
            for trigger in function.config.triggers:
                if trigger.event is not None:
                    self._by_event.setdefault(trigger.event, []).append(_condition(function, trigger.expression))

    def has_trigger(self, name: str) -> bool:
        """Tell whether an event of this name may start anything."""
        return any(pattern in self._by_event for pattern in _patterns(name))

    def matching(self, name: str, body: bytes, *, now: int) -> list[Function]:
        """Return the functions that an event starts, each once. The event is decoded only where a condition asks."""
        conditions = self._by_name.get(name)
        if conditions is None:
            conditions = [condition for pattern in _patterns(name) for condition in self._by_event.get(pattern, ())]
            if len(self._by_name) < _NAMES_KEPT_MAX:
                self._by_name[name] = conditions
        if not conditions:
            return []
        found: dict[FunctionId, Function] = {}
        variables: dict[str, object] | None = None
        for condition in conditions:
            if condition.function.id in found:
                continue
            if condition.expression is not None:
                if variables is None:
                    variables = {"event": msgspec.json.decode(body)}
                if not condition.expression.test(variables, now_ms=now):
                    continue
            found[condition.function.id] = condition.function
        return list(found.values())


def start(
    event: Event, registry: Registry, *, now: int, new_id: Callable[[], str], only: Function | None = None
) -> Intake:
    """Make the runs, and their first jobs, that an event starts.

    An event with a future ``ts`` starts them then. With ``only``, that function alone starts, whatever its triggers
    say: a cron tick or a direct call.
    """
    functions = [only] if only is not None else registry.matching(event.name, event.body, now=now)
    if not functions:
        return Intake(event)
    runs = tuple(new_run(event, function, now=now, run_id=RunId(new_id())) for function in functions)
    jobs = tuple(
        start_job(run, function, due_at=max(now, event.ts)) for run, function in zip(runs, functions, strict=True)
    )
    return Intake(event=event, runs=runs, jobs=jobs)


def new_run(event: Event, function: Function, *, now: int, run_id: RunId, again: RunId | None = None) -> Run:
    """Make a queued run of a function for an event; ``again`` names the run that it repeats."""
    return Run(
        id=run_id,
        environment=event.environment,
        function_id=function.id,
        function_version=function.version,
        event_id=event.id,
        queued_at=now,
        status=RunStatus.QUEUED,
        original_run_id=again,
    )


def start_job(run: Run, function: Function, *, due_at: int) -> Job:
    """Make the first job of a run."""
    return first_job(run, partition=function.app_id, max_attempts=function.max_attempts, due_at=due_at)


def internal_event(
    name: str, data: bytes, *, id: str, environment: EnvironmentId, now: int, event_id: str | None = None
) -> Event:
    """Make an event that the server itself sends. ``data`` is canonical."""
    sender_id = event_id or id
    return Event(
        id=EventId(id),
        environment=environment,
        name=name,
        event_id=sender_id,
        ts=now,
        received_at=now,
        body=events.event_body(name=name, id=sender_id, ts=now, data=data),
        is_internal=True,
    )


def invoked_event(
    data: Json, *, slug: str, id: str, environment: EnvironmentId, now: int, user: Json = None, v: str | None = None
) -> Event:
    """Make the event of a direct call (protocol 2.6). ``data`` is a JSON object. Raises ``NotJson``."""
    tagged = {**data, events.RESERVED_KEY: {"fn_id": slug, "correlation_id": "", "expire": 0, "type": "api"}}
    return Event(
        id=EventId(id),
        environment=environment,
        name=events.INVOKED,
        event_id=id,
        ts=now,
        received_at=now,
        body=events.event_body(name=events.INVOKED, id=id, ts=now, data=encode(tagged), user=encode(user or {}), v=v),
        is_internal=True,
    )


def _patterns(name: str) -> tuple[str, ...]:
    """Return the trigger names that match an event's: itself, and each prefix up to ``/`` or ``.`` with ``*``."""
    return (name, *(name[: end.end()] + "*" for end in _PREFIX_END.finditer(name)))


def _condition(function: Function, expression: str | None) -> _Condition:
    """Compile a trigger's condition. One that can't be compiled never matches (a sync refuses it beforehand)."""
    if expression is None:
        return _Condition(function, None)
    try:
        return _Condition(function, compile_expression(expression))
    except ExpressionError:
        return _Condition(function, compile_expression("false"))
