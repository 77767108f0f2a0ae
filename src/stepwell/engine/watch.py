"""What the engine tells those who watch it, after it is committed: one call for each thing that happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stepwell.engine.core.model import Function, Intake, LogLine, Transition
from stepwell.store.interface import Result


class Watcher(Protocol):
    """Sees what happens. It is called on the event loop and must be quick."""

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        """Note an event that was stored, with the functions that it starts; ``result`` names those that it doesn't."""
        ...

    def changed(self, transition: Transition, function: Function) -> None:
        """Note a committed transition."""
        ...

    def logged(self, lines: Sequence[LogLine]) -> None:
        """Note lines that user code wrote, after they were stored."""
        ...


class NoWatcher:
    """Sees nothing."""

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        pass

    def changed(self, transition: Transition, function: Function) -> None:
        pass

    def logged(self, lines: Sequence[LogLine]) -> None:
        pass
