"""From events to intakes: the functions as they are registered now, and what events start with them."""

from __future__ import annotations

from collections.abc import Callable

from stepwell.engine.core.model import Function, Intake, Run, Transition
from stepwell.engine.core.trigger import Registry, internal_event, start
from stepwell.protocol.event import FINISHED
from stepwell.protocol.ids import EnvironmentId, FunctionId
from stepwell.store.interface import Store


class Registries:
    """The registered functions of each environment, as this replica last read them.

    They may be old: whoever uses them names the revision in the transaction, and refreshes when it is refused.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_environment: dict[EnvironmentId, Registry] = {}
        self._functions: dict[FunctionId, Function] = {}

    def of(self, environment: EnvironmentId) -> Registry:
        """Return the functions of an environment. Raises ``KeyError`` for one that doesn't exist."""
        return self._by_environment[environment]

    def function(self, run: Run) -> Function:
        """Return a run's function at its newest version: a new URL counts for runs in progress, too."""
        return self._functions[run.function_id]

    async def find(self, run: Run) -> Function:
        """Return a run's function, which another replica may have been told of."""
        if run.function_id not in self._functions:
            await self.refresh(run.environment)
        return self._functions[run.function_id]

    async def refresh(self, environment: EnvironmentId) -> Registry:
        """Read the functions anew."""
        revision, functions = await self._store.load_functions(environment)
        registry = Registry(environment, revision, functions)
        current = self._by_environment.get(environment)
        if current is None or current.revision <= revision:
            self._by_environment[environment] = registry
            self._functions.update(registry.by_id)
        return self._by_environment[environment]


def take_in_drafts(transition: Transition, registry: Registry, *, now: int, new_id: Callable[[], str]) -> list[Intake]:
    """Make intakes of the events that a transition sends.

    ``inngest/function.finished`` is kept only where something starts by it: every run would have one, and it says no
    more than the run itself.
    """
    intakes: list[Intake] = []
    for draft in transition.events:
        if draft.name == FINISHED and not registry.has_trigger(FINISHED):
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
        if intake.runs or draft.name != FINISHED:
            intakes.append(intake)
    return intakes
