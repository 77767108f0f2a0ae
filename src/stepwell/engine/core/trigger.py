"""Which functions an event starts (protocol 2.5), and the registered functions in a form made for that question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from stepwell.engine.core.condition import prepare
from stepwell.engine.core.expression import Expression, compile_expression
from stepwell.engine.core.invoke import parent_of
from stepwell.engine.core.jobs import START, first_job, timeout_job
from stepwell.engine.core.model import (
    Admission,
    Event,
    Function,
    Gathering,
    GatherKind,
    Intake,
    Job,
    PauseMode,
    Run,
    RunStatus,
    Start,
    Wait,
    WaitKind,
)
from stepwell.engine.core.rules import PLAIN, Rules, rules_of
from stepwell.errors import ExpressionError, FunctionConfigError
from stepwell.limits import PRIORITY_MS_MAX, SLEEP_MS_MAX
from stepwell.protocol import event as events
from stepwell.protocol.canonical import Json, encode
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, JobId, RunId, StepId

_PREFIX_END: Final = re.compile(r"[/.]")
_NAMES_KEPT_MAX: Final = 4096
_ARCHIVED: Final = "archived"


class _Condition(msgspec.Struct, frozen=True):
    function: Function
    expression: Expression | None


class Registry:
    """The functions of one environment at one revision. Immutable: a sync makes another."""

    def __init__(
        self, environment: EnvironmentId, revision: int, functions: Iterable[Function], *, awaits_ends: bool = False
    ) -> None:
        """``awaits_ends``: a run waits for the event of a run's end, which is stored only for whoever asks for it."""
        self.awaits_ends = awaits_ends
        self.environment = environment
        self.revision = revision
        self.by_id: dict[FunctionId, Function] = {}
        self.by_slug: dict[str, Function] = {}
        self._rules: dict[FunctionId, Rules] = {}
        self._by_event: dict[str, list[_Condition]] = {}
        self._by_name: dict[str, list[_Condition]] = {}
        """What was found for names of events."""
        for function in functions:
            self.by_id[function.id] = function
            if function.is_archived:
                continue
            self.by_slug[function.slug] = function
            rules = _rules(function)
            if not rules.is_plain:
                self._rules[function.id] = rules
            self.awaits_ends |= any(rule.event == events.FINISHED for rule in rules.cancel)
            for trigger in function.config.triggers:
                if trigger.event is not None:
                    self._by_event.setdefault(trigger.event, []).append(_condition(function, trigger.expression))

    def rules(self, function: Function) -> Rules | None:
        """Return the flow control of a function; None where it has none."""
        return self._rules.get(function.id)

    def reads_event(self, functions: Iterable[Function]) -> bool:
        """Tell whether flow control of one of these functions looks into the event."""
        return any(
            rules.reads_event or rules.cancel
            for function in functions
            if (rules := self._rules.get(function.id)) is not None
        )

    def has_trigger(self, name: str) -> bool:
        """Tell whether an event of this name may start anything."""
        return bool(self._conditions(name))

    def matching(self, name: str, body: bytes, *, now: int) -> list[Function]:
        """Return the functions that an event starts, each once. The event is decoded only where a condition asks."""
        conditions = self._conditions(name)
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

    def _conditions(self, name: str) -> list[_Condition]:
        """Return what an event of this name may start."""
        conditions = self._by_name.get(name)
        if conditions is None:
            conditions = [condition for pattern in _patterns(name) for condition in self._by_event.get(pattern, ())]
            if len(self._by_name) < _NAMES_KEPT_MAX:
                self._by_name[name] = conditions
        return conditions


def matches_name(pattern: str, name: str) -> bool:
    """Tell whether a trigger's name, which may end with ``*``, is that of an event."""
    return pattern in _patterns(name)


def start(
    event: Event,
    registry: Registry,
    *,
    now: int,
    new_id: Callable[[], str],
    only: Function | None = None,
    parent: tuple[RunId, StepId] | None = None,
) -> Intake:
    """Make the runs, and their first jobs, that an event starts.

    An event with a future ``ts`` starts them then. With ``only``, that function alone starts, whatever its triggers
    say: a cron tick or a direct call, by a step of ``parent``.
    """
    functions = [only] if only is not None else registry.matching(event.name, event.body, now=now)
    if not functions:
        return Intake(event)
    variables = {"event": msgspec.json.decode(event.body)} if registry.reads_event(functions) else {}
    starts = tuple(
        new_start(event, function, registry, variables, now=now, run_id=RunId(new_id()), parent=parent)
        for function in functions
    )
    return Intake(event=event, starts=starts)


def start_again(
    event: Event, function: Function, registry: Registry, *, now: int, run_id: RunId, again: RunId
) -> Start:
    """Make a run that repeats another, whatever was before, and waits in line like any.

    It is no exception for a singleton: it is skipped while another run goes on or, in mode cancel, is the newest.
    """
    variables = {"event": msgspec.json.decode(event.body)}
    return new_start(event, function, registry, variables, now=now, run_id=run_id, again=again)


def start_gathered(gathering: Gathering, event: Event, function: Function, registry: Registry, *, now: int) -> Start:
    """Make the run of a gathering that is due. ``event`` is the first of a batch, the last of a debounce.

    It is skipped when no app has the function any more: its events have an outcome all the same.
    """
    variables = {"event": msgspec.json.decode(event.body)}
    parent = parent_of(event.body)
    found = new_start(event, function, registry, variables, now=now, run_id=gathering.run_id, parent=parent)
    admission = found.admission
    if admission is not None:  # the rest was asked when the events came
        admission = Admission(skip_reason=admission.skip_reason, singleton=admission.singleton)
    if function.is_archived:
        admission = Admission(skip_reason=_ARCHIVED)
    run = msgspec.structs.replace(found.run, is_batch=gathering.kind is GatherKind.BATCH)
    return msgspec.structs.replace(found, run=run, admission=admission)


def new_start(
    event: Event,
    function: Function,
    registry: Registry,
    variables: Mapping[str, Json],
    *,
    now: int,
    run_id: RunId,
    again: RunId | None = None,
    parent: tuple[RunId, StepId] | None = None,
) -> Start:
    """Make one run with its first job, its guards and its cancel rules. ``variables`` may be empty if nothing reads them."""
    rules = registry.rules(function)
    pause = function.pause
    if rules is None and pause is None:
        run = new_run(event, function, now=now, run_id=run_id, partition=function.id, again=again, parent=parent)
        return Start(run, start_job(run, function, due_at=max(now, event.ts)))
    rules = rules or PLAIN
    is_held = pause is not None and pause.mode is PauseMode.HOLD
    partition = rules.partition_of(function.id, variables, is_held=is_held, now_ms=now)
    run = new_run(event, function, now=now, run_id=run_id, partition=partition, again=again, parent=parent)
    admission = rules.admission(variables, now_ms=now, is_paused=pause is not None and not is_held and again is None)
    if again is not None and admission is not None:
        admission = Admission(singleton=admission.singleton) if admission.singleton is not None else None
    due_at = max(now, event.ts)
    guards: tuple[Job, ...] = ()
    if rules.start_timeout_ms is not None:
        guards = (timeout_job(run, START, due_at=due_at + rules.start_timeout_ms, at=now),)
    waits = tuple(_cancel_waits(run, rules, variables, now))
    if rules.priority is not None and due_at <= now:
        # Jobs stand in the order of their due times: all are moved back, so that none is put off by a negative priority.
        due_at -= PRIORITY_MS_MAX + rules.priority_ms(variables, now_ms=now)
    return Start(run, start_job(run, function, due_at=due_at), guards, waits, admission)


def _cancel_waits(run: Run, rules: Rules, variables: Mapping[str, Json], now: int) -> Iterable[Wait]:
    for number, rule in enumerate(rules.cancel):
        condition = prepare(rule.condition, variables["event"])
        if condition.is_never:
            continue
        yield Wait(
            environment=run.environment,
            run_id=run.id,
            job_id=JobId(f"cancel.{number}"),
            kind=WaitKind.CANCEL,
            name=rule.event,
            path=condition.path,
            value=condition.value,
            condition=condition.rest,
            created_at=now,
            expires_at=now + (rule.timeout_ms or SLEEP_MS_MAX),
        )


def new_run(
    event: Event,
    function: Function,
    *,
    now: int,
    run_id: RunId,
    partition: str,
    again: RunId | None = None,
    parent: tuple[RunId, StepId] | None = None,
) -> Run:
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
        partition=partition,
        parent_run_id=parent[0] if parent is not None else None,
        parent_step_id=parent[1] if parent is not None else None,
    )


def start_job(run: Run, function: Function, *, due_at: int) -> Job:
    """Make the first job of a run."""
    return first_job(run, partition=run.partition, max_attempts=function.max_attempts, due_at=due_at)


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
    data: Json,
    *,
    slug: str,
    id: str,
    environment: EnvironmentId,
    now: int,
    user: Json = None,
    v: str | None = None,
    original: bytes | None = None,
) -> Event:
    """Make the event of a direct call (protocol 2.6). ``data`` is a JSON object. Raises ``NotJson``.

    ``original`` is the object as it came, where the canonical form has to round a number.
    """
    call = {"fn_id": slug, "correlation_id": "", "expire": 0, "type": "api"}
    tagged = {**data, events.RESERVED_KEY: call}
    if original is not None:
        own = original.rstrip().removesuffix(b"}")
        original = own + b',"%b":%b}' % (events.RESERVED_KEY.encode(), encode(call))
    return Event(
        id=EventId(id),
        environment=environment,
        name=events.INVOKED,
        event_id=id,
        ts=now,
        received_at=now,
        body=events.event_body(name=events.INVOKED, id=id, ts=now, data=encode(tagged), user=encode(user or {}), v=v),
        original=original,
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


def _rules(function: Function) -> Rules:
    """Read flow control; what can't be read (a sync refuses it beforehand) limits nothing."""
    try:
        return rules_of(function.config)
    except FunctionConfigError:
        return PLAIN
