"""From events to intakes: the functions as they are registered now, and what events start with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stepwell.engine.core.invoke import invocation_event, not_found, not_found_memo
from stepwell.engine.core.model import Function, Intake, Invocation, Resolution, Run, Transition
from stepwell.engine.core.partition import FETCHES, TIMERS, parse
from stepwell.engine.core.rules import Rules
from stepwell.engine.core.trigger import Registry, internal_event, start
from stepwell.engine.wants import is_held, slot_keys, want
from stepwell.protocol.event import FINISHED
from stepwell.protocol.ids import EnvironmentId, FunctionId
from stepwell.store.interface import Store
from stepwell.store.request import Want


class Registries:
    """The registered functions of each environment, as this replica last read them.

    They may be old: whoever uses them names the revision in the transaction, and refreshes when it is refused.
    ``changed`` is called when a newer revision was read.
    """

    def __init__(self, store: Store, changed: Callable[[], None]) -> None:
        self._store, self._changed = store, changed
        self._by_environment: dict[EnvironmentId, Registry] = {}
        self._functions: dict[FunctionId, Function] = {}
        self._lanes: dict[FunctionId, str] = {}
        """The app that each function was first seen in: one that moves to another gives back what it had in the first."""

    def of(self, environment: EnvironmentId) -> Registry:
        """Return the functions of an environment. Raises ``KeyError`` for one that doesn't exist."""
        return self._by_environment[environment]

    def function(self, run: Run) -> Function:
        """Return a run's function at its newest version: a new URL counts for runs in progress, too."""
        return self._functions[run.function_id]

    def of_partition(self, partition: str) -> Function | None:
        """Return the function whose calls a partition holds; None for timers, and for one that isn't known here."""
        return self._functions.get(FunctionId(partition)) or self._functions.get(parse(partition).function_id)

    def is_known(self, partition: str) -> bool:
        """Tell whether a partition's function is known here, or it has none."""
        return partition in (TIMERS, FETCHES) or self.of_partition(partition) is not None

    def lane(self, partition: str) -> str:
        """Return what a partition's calls are counted for: the app, or, where no app is called, the partition itself."""
        function = self.of_partition(partition)
        return self._lanes[function.id] if function is not None else partition

    def may_lease(self, partition: str) -> bool:
        """Tell whether jobs of a partition may be born leased: only a claim asks for limits."""
        if "|" in partition:
            return False
        function = self.of_partition(partition)
        return function is None or not is_held(partition, function)

    def want(self, partition: str, limit: int) -> Want | None:
        """Say what to claim of a partition; None where its function is paused."""
        function = self.of_partition(partition)
        return want(partition, limit, function, self._rules(function))

    def slot_keys(self, partition: str) -> tuple[str, ...]:
        """Return the keys that the jobs of a partition, or their runs, are counted for."""
        function = self.of_partition(partition)
        return slot_keys(partition, function, self._rules(function)) if function is not None else ()

    def _rules(self, function: Function | None) -> Rules | None:
        if function is None or function.environment not in self._by_environment:
            return None
        return self._by_environment[function.environment].rules(function)

    async def find(self, run: Run) -> Function:
        """Return a run's function, which another replica may have been told of."""
        if run.function_id not in self._functions:
            await self.refresh(run.environment)
        return self._functions[run.function_id]

    async def refresh(self, environment: EnvironmentId) -> Registry:
        """Read the functions anew."""
        revision, functions = await self._store.load_functions(environment)
        awaits_ends = await self._store.is_awaited(environment, FINISHED)
        registry = Registry(environment, revision, functions, awaits_ends=awaits_ends)
        current = self._by_environment.get(environment)
        if current is None or current.revision <= revision:
            self._by_environment[environment] = registry
            self._functions.update(registry.by_id)
            for function in registry.by_id.values():
                self._lanes.setdefault(function.id, function.app_id)
            if current is not None and current.revision < revision:
                self._changed()
        return self._by_environment[environment]


class TakenIn(NamedTuple):
    """The events of a transition with what they start, and the waits that end at once."""

    intakes: list[Intake]
    resolutions: tuple[Resolution, ...]


def take_in(
    transition: Transition, registry: Registry, function: Function, *, now: int, new_id: Callable[[], str]
) -> TakenIn:
    """Make intakes of the events that a transition sends, and of the functions that it invokes.

    ``inngest/function.finished`` is kept only where something starts or waits by it: every run would have one, and it
    says no more than the run itself.
    """
    intakes: list[Intake] = []
    unknown = [one for one in transition.invocations if _child(one, registry) is None]
    for draft in (*transition.events, *(not_found(transition.run, one) for one in unknown)):
        if draft.name == FINISHED and not (registry.awaits_ends or registry.has_trigger(FINISHED)):
            continue
        event = internal_event(
            draft.name,
            draft.data,
            id=new_id(),
            environment=transition.run.environment,
            now=now,
            event_id=draft.event_id,
        )
        intake = start(event, registry, now=now, new_id=new_id)
        if intake.starts or registry.awaits_ends or draft.name != FINISHED:
            intakes.append(intake)
    resolutions: list[Resolution] = []
    run = transition.run
    for invocation in transition.invocations:
        event = invocation_event(invocation, run, function, id=new_id(), environment=run.environment, now=now)
        child = _child(invocation, registry)
        if child is None:
            intakes.append(Intake(event))
            resolutions.append(Resolution(run.id, invocation.step_id, not_found_memo(invocation.slug)))
        else:
            parent = (run.id, invocation.step_id)
            intakes.append(start(event, registry, now=now, new_id=new_id, only=child, parent=parent))
    return TakenIn(intakes, tuple(resolutions))


def _child(invocation: Invocation, registry: Registry) -> Function | None:
    """Return the function that a step invokes, by its slug or its id; None where no app has it."""
    child = registry.by_slug.get(invocation.slug) or registry.by_id.get(FunctionId(invocation.slug))
    return child if child is not None and not child.is_archived else None
