"""The dashboard's questions as verbs: each is a plan, run by whatever reads from the database at hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from stepwell.engine.core.model import Run
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, RunId, StepId
from stepwell.store import counts, lists, outline
from stepwell.store.found import (
    EndedRun,
    EventFilter,
    EventLinks,
    FoundEvents,
    FoundRuns,
    FunctionCount,
    NamedEvent,
    Relatives,
    RowPayload,
    RunContent,
    RunCounts,
    RunDetail,
    RunFilter,
    Sample,
    Version,
)
from stepwell.store.read import Reading

T = TypeVar("T")


class Ask(Protocol):
    """Runs a plan within ``READ_S_MAX``. It takes what makes one: a plan that met a conflict is made anew."""

    def __call__(self, plan: Callable[[], Reading[T]], /) -> Awaitable[T]: ...


class Questions:
    """See ``interface.Insight``, which this implements, for what each verb promises."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def find_runs(self, which: RunFilter) -> FoundRuns:
        return await self._ask(lambda: lists.find_runs(which))

    async def runs_by_id(self, environment: EnvironmentId, ids: Sequence[RunId]) -> FoundRuns:
        return await self._ask(lambda: lists.runs_by_id(environment, ids))

    async def find_events(self, which: EventFilter) -> FoundEvents:
        return await self._ask(lambda: lists.find_events(which))

    async def events_by_id(self, environment: EnvironmentId, ids: Sequence[EventId]) -> FoundEvents:
        return await self._ask(lambda: lists.events_by_id(environment, ids))

    async def run_contents(self, ids: Sequence[RunId]) -> tuple[int, Mapping[RunId, RunContent]]:
        return await self._ask(lambda: lists.run_contents(ids))

    async def event_bodies(self, ids: Sequence[EventId]) -> tuple[int, Mapping[EventId, bytes]]:
        return await self._ask(lambda: lists.event_bodies(ids))

    async def small_events(self, ids: Sequence[EventId]) -> Mapping[EventId, tuple[bytes, bytes | None]]:
        return await self._ask(lambda: lists.small_events(ids))

    async def count_runs(
        self,
        environment: EnvironmentId,
        function_ids: Sequence[FunctionId] | None,
        *,
        start: int,
        end: int,
        bucket_ms: int,
    ) -> RunCounts:
        return await self._ask(
            lambda: counts.count_runs(environment, function_ids, start=start, end=end, bucket_ms=bucket_ms)
        )

    async def count_by_function(
        self, environment: EnvironmentId, *, start: int, end: int, bucket_ms: int
    ) -> tuple[list[FunctionCount], int | None]:
        return await self._ask(lambda: counts.count_by_function(environment, start=start, end=end, bucket_ms=bucket_ms))

    async def read_durations(
        self, environment: EnvironmentId, function_id: FunctionId | None, *, start: int, end: int
    ) -> list[EndedRun]:
        return await self._ask(lambda: counts.read_durations(environment, function_id, start=start, end=end))

    async def last_failures(self, environment: EnvironmentId) -> list[Run]:
        return await self._ask(lambda: counts.last_failures(environment))

    async def failures_of(self, environment: EnvironmentId, function_id: FunctionId) -> tuple[list[Run], int | None]:
        return await self._ask(lambda: counts.failures_of(environment, function_id))

    async def calls_in_progress(self) -> list[tuple[str, int]]:
        return await self._ask(counts.calls_in_progress)

    async def slot_counts(self, keys: Sequence[str]) -> dict[str, int]:
        return await self._ask(lambda: counts.slot_counts(keys))

    async def samples(self, function_id: FunctionId, *, start: int, end: int, bucket_ms: int) -> list[Sample]:
        return await self._ask(lambda: counts.samples(function_id, start=start, end=end, bucket_ms=bucket_ms))

    async def slots_used(self, prefixes: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
        return await self._ask(lambda: counts.slots_used(prefixes))

    async def recent_names(self, environment: EnvironmentId, *, limit: int) -> list[NamedEvent]:
        return await self._ask(lambda: counts.recent_names(environment, limit))

    async def load_outline(self, id: RunId, *, after: int | None) -> RunDetail | None:
        return await self._ask(lambda: outline.load_outline(id, after))

    async def load_spans(self, id: RunId) -> RunDetail | None:
        return await self._ask(lambda: outline.load_spans(id))

    async def load_relatives(self, id: RunId) -> Relatives:
        return await self._ask(lambda: outline.load_relatives(id))

    async def load_event_links(self, id: EventId) -> EventLinks:
        return await self._ask(lambda: outline.load_event_links(id))

    async def step_title(self, run_id: RunId, step_id: StepId) -> str | None:
        return await self._ask(lambda: outline.step_title(run_id, step_id))

    async def load_row(self, id: RunId, row_id: str) -> RowPayload | None:
        return await self._ask(lambda: outline.load_row(id, row_id))

    async def load_version(self, function_id: FunctionId, version: int) -> Version | None:
        return await self._ask(lambda: outline.load_version(function_id, version))
