"""What the engine tells those who watch it, after it is committed: one call for each thing that happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stepwell.engine.core.model import Function, Intake, Transition
from stepwell.store.interface import Result


class Watcher(Protocol):
    """Sees what happens. It is called on the event loop and must be quick."""

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        """Note an event that was stored, with the functions that it starts; ``result`` names those that it doesn't."""
        ...

    def changed(self, transition: Transition, function: Function) -> None:
        """Note a committed transition."""
        ...


class NoWatcher:
    """Sees nothing."""

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        pass

    def changed(self, transition: Transition, function: Function) -> None:
        pass
