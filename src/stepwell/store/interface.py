"""The store's interface: the domain's verbs, in batches. It is internal and may change.

*Writing verbs* are requests that the store groups: whatever waits when the writer is free is committed in one
transaction. Each request is atomic by itself and answered by its own result; one that fails takes none of the others
with it. A request's ``done`` is called on the event loop after the commit, before anybody who awaits the result goes
on: leased jobs are handed over there, so that they are not lost with a cancelled caller.

*Reading verbs* see what is committed.

Every writing transaction begins with the fence: it fails with ``Fenced`` when this replica's row is gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from stepwell.engine.core.model import (
    App,
    Event,
    Function,
    Gathering,
    Run,
    Span,
)
from stepwell.engine.core.standing import Limiting, Standing
from stepwell.engine.core.state import RunState
from stepwell.errors import StoreError
from stepwell.protocol.ids import (
    AttemptId,
    EnvironmentId,
    EventId,
    FunctionId,
    ReplicaId,
    RunId,
    StepId,
)
from stepwell.store.found import (
    Aftermath,
    Aged,
    Checked,
    Credentials,
    DueSchedule,
    EndedRun,
    EventFilter,
    EventKey,
    EventLinks,
    FoundEvents,
    FoundRuns,
    FunctionCount,
    Lease,
    LogFilter,
    LogPage,
    Minute,
    NamedEvent,
    Relatives,
    RowPayload,
    RunContent,
    RunCounts,
    RunDetail,
    RunFilter,
    Sample,
    Schedule,
    Version,
    Walk,
)
from stepwell.store.news import News
from stepwell.store.request import Request, Result


class Fenced(StoreError):
    """This replica was declared dead: it may write no more under this id, and must enter again under a new one."""

    code = "fenced"


class Insight(Protocol):
    """What the dashboard asks of a database.

    Each question looks at a bounded number of rows, and says where it stopped. Raises ``QueryTimeout`` where one takes
    more than ``READ_S_MAX`` all the same. They have readers of their own, or only a part of them: the engine's own reads
    don't wait for them.
    """

    async def find_runs(self, which: RunFilter) -> FoundRuns:
        """Return a page of runs, newest first, without payloads."""
        ...

    async def runs_by_id(self, environment: EnvironmentId, ids: Sequence[RunId]) -> FoundRuns:
        """Return some runs, newest first; ids that aren't there are left out."""
        ...

    async def find_events(self, which: EventFilter) -> FoundEvents:
        """Return a page of events, newest first, without payloads."""
        ...

    async def events_by_id(self, environment: EnvironmentId, ids: Sequence[EventId]) -> FoundEvents:
        """Return some events, newest first; ids that aren't there are left out."""
        ...

    async def run_contents(self, ids: Sequence[RunId]) -> tuple[int, Mapping[RunId, RunContent]]:
        """Return the events and outputs of the first of some runs, as many as may be read at once, and how many."""
        ...

    async def event_bodies(self, ids: Sequence[EventId]) -> tuple[int, Mapping[EventId, bytes]]:
        """Return the bodies of the first of some events, as many as may be read at once, and how many."""
        ...

    async def small_events(self, ids: Sequence[EventId]) -> Mapping[EventId, tuple[bytes, bytes | None]]:
        """Return bodies and originals of those of some events whose body has up to ``PREVIEWED_BYTES_MAX``."""
        ...

    async def count_runs(
        self,
        environment: EnvironmentId,
        function_ids: Sequence[FunctionId] | None,
        *,
        start: int,
        end: int,
        bucket_ms: int,
    ) -> RunCounts:
        """Count runs by the time at which they ended, and those that haven't."""
        ...

    async def count_by_function(
        self, environment: EnvironmentId, *, start: int, end: int, bucket_ms: int
    ) -> tuple[list[FunctionCount], int | None]:
        """Count the runs of each function by the time at which they ended; and say from when on, if not all were."""
        ...

    async def read_durations(
        self, environment: EnvironmentId, function_id: FunctionId | None, *, start: int, end: int
    ) -> list[EndedRun]:
        """Return the newest runs that completed, of one function or of all, with how long they took."""
        ...

    async def last_failures(self, environment: EnvironmentId) -> list[Run]:
        """Return the last failed run of each function, where it isn't long ago, without payloads."""
        ...

    async def failures_of(self, environment: EnvironmentId, function_id: FunctionId) -> tuple[list[Run], int | None]:
        """Return a function's newest failed runs, newest first; and since when, if older ones were left out."""
        ...

    async def calls_in_progress(self) -> list[tuple[str, int]]:
        """Return how many jobs of each partition are being worked on."""
        ...

    async def slot_counts(self, keys: Sequence[str]) -> dict[str, int]:
        """Return by how many each of some concurrency keys is used."""
        ...

    async def samples(self, function_id: FunctionId, *, start: int, end: int, bucket_ms: int) -> list[Sample]:
        """Return the most that was seen of a function in each bucket, where anything was.

        A sample belongs to the bucket that has the middle of its minute; what is returned has the first minute's time.
        """
        ...

    async def slots_used(self, prefixes: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
        """Return, for each beginning of concurrency keys, the keys that are used most, and by how many."""
        ...

    async def recent_names(self, environment: EnvironmentId, *, limit: int) -> list[NamedEvent]:
        """Return the names of the newest events, each with its last event, the newest first."""
        ...

    async def load_outline(self, id: RunId, *, after: int | None) -> RunDetail | None:
        """Return a run with the rows that ended at ``after`` or later, or haven't yet, in one consistent view.

        Payloads are left out: the run has no output, only short memos are there, and of errors their beginning.
        """
        ...

    async def load_spans(self, id: RunId) -> RunDetail | None:
        """Return when each thing of a run began and ended, without names and contents."""
        ...

    async def load_relatives(self, id: RunId) -> Relatives:
        """Return what a run is connected with."""
        ...

    async def load_event_links(self, id: EventId) -> EventLinks:
        """Return the waits that an event ended, and the step that sent it."""
        ...

    async def step_title(self, run_id: RunId, step_id: StepId) -> str | None:
        """Return the name of a step that a run knows, or works on."""
        ...

    async def load_row(self, id: RunId, row_id: str) -> RowPayload | None:
        """Return the payloads of one row of a run's timeline."""
        ...

    async def load_version(self, function_id: FunctionId, version: int) -> Version | None:
        """Return a function's configuration at a version."""
        ...


class Store(Protocol):
    """What the engine and the server ask of a database."""

    replica_id: ReplicaId
    is_shared: bool
    """Other replicas may work on the database: this one must beat."""

    async def start(self, *, now: int) -> None:
        """Open the database, migrate it, and enter this replica.

        On SQLite, which one process has for itself, the jobs of all others are released.
        """
        ...

    async def enter(self, replica_id: ReplicaId) -> None:
        """Enter again under a new id, after this replica was fenced."""
        ...

    def tell(self, news: News) -> None:
        """Tell the other replicas, soon and with what else there is to tell. It may be lost."""
        ...

    def listen(self, hear: Callable[[News], None]) -> None:
        """Have ``hear`` called with what other replicas tell."""
        ...

    def measure(self, observe: Callable[[float, int], None]) -> None:
        """Have ``observe`` called after each transaction that wrote, with its seconds and how many requests it had."""
        ...

    @property
    def is_heard(self) -> bool:
        """Tell whether news arrive; where they don't, replicas look by themselves, often."""
        ...

    @property
    def outage(self) -> str | None:
        """Why the database can't be used now, as last seen; None when it can."""
        ...

    async def stop(self) -> None:
        """Finish what was submitted and close."""
        ...

    def submit(self, request: Request) -> Awaitable[Result]:
        """Commit a request with whatever else is waiting.

        It is queued at once, and goes on whatever becomes of the caller. Awaiting the result raises ``StoreError``
        when nothing of it was written; ``StoreClosed`` is raised at once.
        """
        ...

    async def add_environment(self, environment: EnvironmentId, *, now: int) -> None:
        """Make an environment if it isn't there. Idempotent."""
        ...

    async def load_functions(self, environment: EnvironmentId) -> tuple[int, list[Function]]:
        """Return the environment's revision and its functions, archived ones too, at their newest version."""
        ...

    async def is_awaited(self, environment: EnvironmentId, name: str) -> bool:
        """Tell whether a run waits for an event of a name, or would be cancelled by one."""
        ...

    async def load_apps(self, environment: EnvironmentId) -> list[App]:
        """Return the apps of an environment, archived ones too."""
        ...

    async def load_runs(self, ids: Sequence[RunId]) -> dict[RunId, RunState]:
        """Return the states of runs, final ones too; ids that aren't there are left out."""
        ...

    async def ended_runs(self, ids: Sequence[RunId]) -> list[RunId]:
        """Return those of some runs that have ended."""
        ...

    async def leases(self) -> list[Lease]:
        """Return the jobs that are leased to this replica."""
        ...

    async def partitions(self) -> list[str]:
        """Return the partitions that have waiting jobs, due or not."""
        ...

    async def backlog(self, *, now: int, partitions_max: int, count_max: int) -> list[tuple[str, int]]:
        """Return partitions with due jobs that nobody has begun, and how many; each is counted up to a limit."""
        ...

    async def next_due(self, partitions: Sequence[str]) -> list[tuple[str, int | None]]:
        """Return when each partition has work again."""
        ...

    async def due_schedules(self, *, now: int, limit: int) -> list[DueSchedule]:
        """Return schedules whose time has come, the oldest first."""
        ...

    async def next_schedule_due(self) -> int | None:
        """Return when the next schedule is due."""
        ...

    async def load_schedules(self, environment: EnvironmentId) -> list[Schedule]:
        """Return all schedules of an environment's functions."""
        ...

    async def has_sweeps(self) -> bool:
        """Tell whether events have waits to end that were too many for one transaction."""
        ...

    async def due_gatherings(self, *, now: int, limit: int) -> list[tuple[Gathering, list[Event]]]:
        """Return gatherings whose time has come, the oldest first, with their events: of a debounce only the last."""
        ...

    async def next_gathering_due(self) -> int | None:
        """Return when the next gathering is due."""
        ...

    async def load_credentials(self) -> Credentials:
        """Return all by which somebody may come in, in one consistent view."""
        ...

    async def load_setting(self, key: str) -> str | None:
        """Return a setting of the server, or None."""
        ...

    async def list_runs(self, which: RunFilter) -> list[Run]:
        """Return a page of runs, newest first."""
        ...

    @property
    def insight(self) -> Insight:
        """What the dashboard asks."""
        ...

    async def list_events(self, which: EventFilter) -> list[Event]:
        """Return a page of events, newest first."""
        ...

    async def list_lines(self, which: LogFilter) -> LogPage:
        """Return a page of lines. A search through all looks at ``LOG_SCANNED_MAX``, and may find fewer than asked for."""
        ...

    async def count_lines(self, run_id: RunId) -> int:
        """Return how many lines came for a run, those that were too many as well."""
        ...

    async def load_spans(self, run_id: RunId) -> tuple[list[Span], dict[AttemptId, str]]:
        """Return the spans of a run, the first to begin first, and the ids of its attempts, those under way as well."""
        ...

    async def load_event(self, id: EventId) -> Event | None:
        """Return one event by its internal id."""
        ...

    async def event_names(self, ids: Sequence[EventId]) -> dict[EventId, str]:
        """Return the names of events; ids that aren't there are left out."""
        ...

    async def load_run(self, id: RunId) -> RunDetail | None:
        """Return all that is known of a run, in one consistent view."""
        ...

    async def load_aftermath(self, id: EventId, *, limit: int) -> Aftermath:
        """Return what became of an event, up to ``limit`` of a kind, in one consistent view."""
        ...

    async def find_run(self, id: RunId) -> Run | None:
        """Return a run without its steps."""
        ...

    async def load_standing(
        self, id: RunId, limitings: Callable[[str], Sequence[Limiting]], *, now: int
    ) -> Standing | None:
        """Return what a run waits for now, and who has what it waits for, in one consistent view.

        ``limitings`` tells the limits of a partition; it is called on any thread.
        """
        ...

    async def walk_runs(
        self, function_id: FunctionId, *, after: str, ended_before: int, limit: int, count_max: int
    ) -> list[Aged]:
        """Return the runs of a function with ids above ``after``, the oldest first.

        Those that ended by ``ended_before`` have expired; of their rows at most ``count_max`` of a kind are counted.
        """
        ...

    async def walk_events(
        self, environment: EnvironmentId, *, after: str, received_before: int, limit: int
    ) -> list[Aged]:
        """Return events with ids above ``after``, the oldest first.

        Those of the environment that were received by ``received_before``, and that neither a run nor a gathering has,
        have expired.
        """
        ...

    async def walk_samples(self, function_id: FunctionId, *, after: int, until: int, limit: int) -> list[Minute]:
        """Return the minutes of a function of which a sample is kept, from ``after`` to ``until``, in their order."""
        ...

    async def check(self, walk: Walk, after: tuple[str, ...], *, now: int, limit: int) -> list[Checked]:
        """Look at rows whose keys are above ``after``, in their order: is what must hold true of them?

        What came to be within ``FAULT_AGE_MS`` may be on its way, and is no fault yet.
        """
        ...

    async def walk_event_keys(self, after: tuple[str, str], *, limit: int) -> list[EventKey]:
        """Return windows of event ids in the order of function and event id, those above ``after``."""
        ...
