"""What the engine tells those who watch it, after it is committed: one call for each thing that happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stepwell.engine.core.model import Function, Intake, LogLine, Transition
from stepwell.protocol.ids import RunId
from stepwell.store.news import News
from stepwell.store.request import Result


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

    def touched(self, runs: Sequence[RunId]) -> None:
        """Note runs of which something changed by no transition of this replica's.

        A call was begun, or a step in one, a wait has ended, a job was given back, the attempt of a lost reply was kept, rows were deleted.
        """
        ...

    def functions_changed(self) -> None:
        """Note that functions changed: an app was synced, one was paused or goes on."""
        ...

    def doubted(self) -> None:
        """Note that anything may have changed which nobody names: a dead replica's work was released, say."""
        ...

    def heard(self, news: News) -> None:
        """Note what another replica tells."""
        ...


class NoWatcher:
    """Sees nothing; the base of those that see a part."""

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        pass

    def changed(self, transition: Transition, function: Function) -> None:
        pass

    def logged(self, lines: Sequence[LogLine]) -> None:
        pass

    def touched(self, runs: Sequence[RunId]) -> None:
        pass

    def functions_changed(self) -> None:
        pass

    def doubted(self) -> None:
        pass

    def heard(self, news: News) -> None:
        pass


class Watchers:
    """Tells several of what happens."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        for watcher in self._watchers:
            watcher.took_in(intake, functions, result)

    def changed(self, transition: Transition, function: Function) -> None:
        for watcher in self._watchers:
            watcher.changed(transition, function)

    def logged(self, lines: Sequence[LogLine]) -> None:
        for watcher in self._watchers:
            watcher.logged(lines)

    def touched(self, runs: Sequence[RunId]) -> None:
        for watcher in self._watchers:
            watcher.touched(runs)

    def functions_changed(self) -> None:
        for watcher in self._watchers:
            watcher.functions_changed()

    def doubted(self) -> None:
        for watcher in self._watchers:
            watcher.doubted()

    def heard(self, news: News) -> None:
        for watcher in self._watchers:
            watcher.heard(news)
