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
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeAlias

from stepwell.engine.core.model import (
    App,
    Attempt,
    Event,
    Function,
    FunctionChange,
    Gathering,
    Intake,
    Job,
    LogLine,
    Pause,
    Run,
    RunStatus,
    Span,
    Start,
    Step,
    Tick,
    Transition,
)
from stepwell.engine.core.standing import Limiting, Standing
from stepwell.engine.core.state import RunState
from stepwell.errors import StoreError
from stepwell.limits import DEBOUNCE_PERIOD_MS_MAX
from stepwell.protocol.ids import (
    AttemptId,
    EnvironmentId,
    EventId,
    FunctionId,
    JobId,
    ReplicaId,
    RunId,
    StepId,
)
from stepwell.protocol.ops import OpCode


class Fenced(StoreError):
    """This replica was declared dead: it may write no more under this id, and must enter again under a new one."""

    code = "fenced"


class Verdict(StrEnum):
    """What became of a request."""

    COMMITTED = "committed"
    STALE = "stale"  # computed from an older version of the run, or of the functions: load it and compute again
    LOST = "lost"  # the job isn't this replica's any more: its reply changed nothing
    CONFLICT = "conflict"  # another run waits for the same signal
    REFUSED = "refused"  # who asked may not, or what is asked for isn't there


class IngestRequest(NamedTuple):
    """Store events with what they start.

    Committed: an intake whose event was there already (a send tried again) starts nothing; a run whose event id
    started its function within 24 hours becomes a skipped run. Stale when ``revision`` isn't the environment's.
    Not idempotent but for seeded events.
    """

    environment: EnvironmentId
    revision: int
    intakes: Sequence[Intake]
    now: int
    done: Callable[[Result], None] | None = None


class CommitRequest(NamedTuple):
    """Carry out a transition, with the events that it sends and what these start.

    Lost when ``transition.job`` isn't leased to this replica at its generation any more or, where it has no owner, when
    somebody has begun it (the attempt alone is kept, with the outcome ``lost``); stale when the run moved on, or ``revision`` isn't the environment's. A second commit
    of the same transition is one of the two. ``revision`` is None where no event is sent.
    """

    transition: Transition
    environment: EnvironmentId
    revision: int | None = None
    intakes: Sequence[Intake] = ()
    done: Callable[[Result], None] | None = None


class TickRequest(NamedTuple):
    """Fire schedules: each only if it is still due at the time that was seen. Idempotent."""

    environment: EnvironmentId
    revision: int
    ticks: Sequence[Tick]
    now: int
    done: Callable[[Result], None] | None = None


class SlotLimit(NamedTuple):
    """How many may use a concurrency key at once: jobs under way, or runs from their first call to their end."""

    key: str
    limit: int
    is_run: bool = False
    is_taken: bool = False
    """The jobs that may be claimed have theirs already, since their runs started (a singleton)."""


class ThrottleLimit(NamedTuple):
    """How often runs of a key may start."""

    key: str
    limit: int
    period_ms: int
    burst: int


class Want(NamedTuple):
    """Up to ``limit`` jobs of a partition, within its limits. What is claimed goes on in the partition ``later``."""

    partition: str
    limit: int
    later: str
    slots: tuple[SlotLimit, ...] = ()
    throttle: ThrottleLimit | None = None


class ClaimRequest(NamedTuple):
    """Lease due jobs, the oldest of each partition first."""

    wants: Sequence[Want]
    now: int
    done: Callable[[Result], None] | None = None


class ReleaseRequest(NamedTuple):
    """Give back leased jobs. Those that aren't ours any more are passed over."""

    jobs: Sequence[Job]
    is_lost: bool = False
    """Their work may have begun: it counts among the lost attempts in a row."""
    done: Callable[[Result], None] | None = None


class SyncRequest(NamedTuple):
    """Register an app: its functions in, those it no longer has archived, its schedules replaced.

    A schedule that stays keeps its time. Stale when ``revision`` isn't the environment's. Idempotent.
    """

    app: App
    revision: int
    changes: Sequence[FunctionChange]
    archived: Sequence[FunctionId]
    now: int
    is_removed: bool = False
    """The app itself is archived, with all its functions."""
    done: Callable[[Result], None] | None = None


class BeatRequest(NamedTuple):
    """Say that this replica lives, and look at the others. It waits for no other request."""

    silent_ms: int
    """A replica that hasn't beaten for so long counts as dead."""
    done: Callable[[Result], None] | None = None


class ReapRequest(NamedTuple):
    """Remove the replicas that haven't beaten for ``silent_ms``, and release their jobs."""

    silent_ms: int
    now: int
    done: Callable[[Result], None] | None = None


class LeaveRequest(NamedTuple):
    """Remove this replica and release what it still has. It can write no more."""

    now: int
    done: Callable[[Result], None] | None = None


class PruneRequest(NamedTuple):
    """Delete what has expired: runs that ended, with their steps, attempts and events; events; windows of event ids.

    It waits for nobody: what another transaction has is passed over, and so is all that must stay. That is a run which
    hasn't ended, an event that was received after ``received_before`` or that a run or a gathering still has, and a window
    that lasts longer than ``now``. Idempotent.
    """

    now: int
    runs: Sequence[RunId] = ()
    events: Sequence[EventId] = ()
    keys: Sequence[tuple[FunctionId, str]] = ()
    received_before: int | None = None
    """None keeps all events, those of the runs, too."""
    rows_max: int | None = None
    """Delete so many attempts, steps and events of a batch at most, of one run; the run itself only when none is left."""
    done: Callable[[Result], None] | None = None


class Fire(NamedTuple):
    """A gathering that is due, as it was seen, with the run that it starts for an event, the first of them."""

    version: int
    key: str
    event: Event
    start: Start


class FireRequest(NamedTuple):
    """Start the runs of gatherings: each only if no event joined it since it was seen. Idempotent.

    Stale when ``revision`` isn't the environment's.
    """

    environment: EnvironmentId
    revision: int
    fires: Sequence[Fire]
    now: int
    done: Callable[[Result], None] | None = None

    @property
    def starts(self) -> tuple[Start, ...]:
        return tuple(fire.start for fire in self.fires)


class SignalRequest(NamedTuple):
    """Send a signal to the run that waits for it; where none does, keep it if asked to.

    ``data`` is canonical; ``id`` orders the kept ones. Idempotent with a ``key``, for 24 hours.
    """

    environment: EnvironmentId
    id: str
    name: str
    data: bytes
    keep: bool
    now: int
    key: str | None = None
    done: Callable[[Result], None] | None = None


class SweepRequest(NamedTuple):
    """Go on with ending waits that an event ends which are too many for one transaction. Idempotent."""

    now: int
    done: Callable[[Result], None] | None = None


class WakeRequest(NamedTuple):
    """End a sleep now. Refused when there is none that goes on: it is over, or the run has ended."""

    run_id: RunId
    job_id: JobId
    now: int
    done: Callable[[Result], None] | None = None


class PauseRequest(NamedTuple):
    """Pause a function, or let it go on (None). Stale when ``revision`` isn't the environment's."""

    environment: EnvironmentId
    revision: int
    function_id: FunctionId
    pause: Pause | None
    done: Callable[[Result], None] | None = None


class Fault(StrEnum):
    """What the reconciler looks for: broken promises, and what is over."""

    STUCK_RUN = "stuck_run"  # it hasn't ended, and nothing brings it on
    JOB_OF_ENDED_RUN = "job_of_ended_run"
    WAIT_OF_ENDED_RUN = "wait_of_ended_run"
    WAIT_WITHOUT_JOB = "wait_without_job"
    SLOT_OF_ENDED_RUN = "slot_of_ended_run"
    SLOT_WITHOUT_LEASE = "slot_without_lease"
    UNKNOWN_GATHERING = "unknown_gathering"  # of a function that isn't there
    OVERDUE_GATHERING = "overdue_gathering"  # the servers were down, or have too much to do
    EXPIRED_WAIT = "expired_wait"
    EXPIRED_STATE = "expired_state"
    EXPIRED_SIGNAL = "expired_signal"

    @property
    def is_of_time(self) -> bool:
        """Tell whether it breaks no promise: it comes of time alone."""
        return self in _OF_TIME


_OF_TIME: Final = (Fault.OVERDUE_GATHERING, Fault.EXPIRED_WAIT, Fault.EXPIRED_STATE, Fault.EXPIRED_SIGNAL)


class Walk(StrEnum):
    """What the reconciler walks through, each by its key."""

    RUNS = "runs"  # that haven't ended
    JOBS = "jobs"
    WAITS = "waits"
    SLOTS = "slots"
    FLOW = "flow"  # states of rate limits and throttles
    SIGNALS = "signals"
    GATHERINGS = "gatherings"


class Checked(NamedTuple):
    """A row that was looked at: its key, and what is wrong with it."""

    key: tuple[str, ...]
    fault: Fault | None


class RepairRequest(NamedTuple):
    """Mend what was found, unless it has changed since. Idempotent."""

    found: Mapping[Fault, Sequence[tuple[str, ...]]]
    """The keys, by what is wrong; those of stuck runs are in ``revived``."""
    revived: Sequence[tuple[Job, int]]
    """Jobs for stuck runs, each with the version of its run."""
    now: int
    done: Callable[[Result], None] | None = None


class DropRequest(NamedTuple):
    """Remove what is left of runs that ended: jobs and waits that came too late. Idempotent."""

    runs: Sequence[RunId]
    done: Callable[[Result], None] | None = None


class LogRequest(NamedTuple):
    """Store lines and spans of runs.

    Those of runs that aren't there, or that ended ``LOG_LATE_MS`` ago, are passed over; so is what a run has too many of,
    but for one line that says so. Spans are idempotent by their ids, lines aren't.
    """

    lines: Sequence[LogLine]
    spans: Sequence[Span]
    now: int
    done: Callable[[Result], None] | None = None


class SettingRequest(NamedTuple):
    """Keep a setting of the server, such as the clock's offset."""

    key: str
    value: str
    is_kept: bool = False
    """One that is there already stays."""
    done: Callable[[Result], None] | None = None


class SetupLinkRequest(NamedTuple):
    """Keep the hash of a link by which the account can be made. Idempotent."""

    hash: str
    now: int
    expires_at: int
    done: Callable[[Result], None] | None = None


class ResetRequest(NamedTuple):
    """Remove the account with all sessions and links, and keep a new link's hash. API tokens stay. Idempotent."""

    hash: str
    now: int
    expires_at: int
    done: Callable[[Result], None] | None = None


class AccountRequest(NamedTuple):
    """Make the account, with a link that is used up. Refused when the link isn't good, or there is an account."""

    link_hash: str
    password: str
    """Hashed."""
    now: int
    done: Callable[[Result], None] | None = None


class SessionRequest(NamedTuple):
    """Begin a session, and end those that are over, or too many: the ones that end soonest.

    Refused when ``password``, hashed, isn't the account's any more. Without one, let a session last longer: refused
    when there is none.
    """

    hash: str
    password: str | None
    now: int
    expires_at: int
    done: Callable[[Result], None] | None = None


class SessionEndRequest(NamedTuple):
    """End a session. Idempotent."""

    hash: str
    done: Callable[[Result], None] | None = None


class TokenRequest(NamedTuple):
    """Keep an API token's hash. Refused when there are too many."""

    id: str
    name: str
    hash: str
    now: int
    done: Callable[[Result], None] | None = None


class TokenEndRequest(NamedTuple):
    """Revoke an API token. Refused when there is none with this id."""

    id: str
    done: Callable[[Result], None] | None = None


class TokenUseRequest(NamedTuple):
    """Note when an API token was used. Idempotent."""

    id: str
    now: int
    done: Callable[[Result], None] | None = None


AccessRequest: TypeAlias = (
    SetupLinkRequest
    | ResetRequest
    | AccountRequest
    | SessionRequest
    | SessionEndRequest
    | TokenRequest
    | TokenEndRequest
    | TokenUseRequest
)

Request: TypeAlias = (
    AccessRequest
    | IngestRequest
    | CommitRequest
    | TickRequest
    | ClaimRequest
    | ReleaseRequest
    | SyncRequest
    | FireRequest
    | SignalRequest
    | SweepRequest
    | WakeRequest
    | PauseRequest
    | DropRequest
    | RepairRequest
    | SettingRequest
    | LogRequest
    | BeatRequest
    | ReapRequest
    | LeaveRequest
    | PruneRequest
)


class Claimed(NamedTuple):
    """A leased job with the version of its run, by which a warm state is known to be right."""

    job: Job
    run_version: int


class Beat(NamedTuple):
    """What a replica sees of the others when it beats."""

    now: int
    """The database's time, Unix ms."""
    replica_count: int
    dead_count: int
    """Replicas that should be reaped."""
    revisions: Mapping[EnvironmentId, int]


class Changed(NamedTuple):
    """What changed at one replica, for pages that are open at others."""

    new_runs: Sequence[RunId] = ()
    runs: Sequence[RunId] = ()
    """Others that changed."""
    events: Sequence[EventId] = ()
    logged: Sequence[RunId] = ()
    """Runs that have new log lines."""
    has_more_runs: bool = False
    has_more_events: bool = False
    has_more_lines: bool = False
    """There are more than are named."""
    is_doubtful: bool = False
    """Something changed of which nobody knows what."""
    to: ReplicaId | None = None
    """The one replica that this is for."""


class Viewing(NamedTuple):
    """What the pages want to hear that are open at one replica. It holds for some seconds."""

    runs: bool = False
    events: bool = False
    logs: bool = False
    run_ids: Sequence[RunId] = ()
    """Runs of which they want to hear in any case."""
    log_run_ids: Sequence[RunId] = ()
    """Runs of whose new log lines they want to hear in any case."""

    def has_all_of(self, other: Viewing) -> bool:
        """Tell whether whoever is told this is told all that another asks for."""
        return (
            self.runs >= other.runs
            and self.events >= other.events
            and self.logs >= other.logs
            and (self.runs or set(self.run_ids) >= set(other.run_ids))
            and (self.logs or set(self.log_run_ids) >= set(other.log_run_ids))
        )


class News(NamedTuple):
    """What one replica tells the others: hints that save them a wait, never needed for a result."""

    due: Mapping[str, int]
    """Partitions with work that the teller leaves to others, with its due time."""
    is_synced: bool = False
    """The functions changed."""
    is_left: bool = False
    """A replica left its work: look at all partitions."""
    room: tuple[str, ...] = ()
    """Concurrency keys that have room again."""
    is_new: bool = False
    """The teller has begun to listen: it doesn't know what the others view, and what it told before may be lost."""
    viewing: Viewing | None = None
    changed: Changed | None = None
    by: ReplicaId | None = None
    """Who tells it; the store says so."""


class Lease(NamedTuple):
    """A job that is leased to this replica."""

    run_id: RunId
    job_id: JobId
    generation: int


class Pruned(NamedTuple):
    """How much was deleted."""

    runs: int = 0
    events: int = 0
    keys: int = 0
    rows: int = 0
    """Attempts, steps and events of a batch, where they were limited."""


class Logged(NamedTuple):
    """What became of lines and spans."""

    runs: frozenset[RunId]
    """The runs that are there. All else is of unknown ones."""
    lines: Sequence[LogLine]
    """The lines that were stored, with where they are from."""
    full_of_lines: frozenset[RunId] = frozenset()
    """Runs of which not all lines were stored."""
    full_of_spans: frozenset[RunId] = frozenset()


class Result(NamedTuple):
    """What became of a request, and what it made."""

    verdict: Verdict
    leased: frozenset[tuple[RunId, JobId]] = frozenset()
    """Of the jobs that were inserted with an owner, those that got their lease; the others wait in the queue."""
    skipped: Mapping[RunId, str] = MappingProxyType({})
    """Runs that weren't started, and why."""
    gathered: Mapping[RunId, RunId] = MappingProxyType({})
    """Runs that weren't started, since their event joined others: by the run that it will be in."""
    gathering_due: int | None = None
    """When the first of these is due."""
    resumed: tuple[RunId, ...] = ()
    """Runs that a request let go on: they have a due job among the timers now."""
    is_swept: bool = False
    """There are more waits to end than were: a sweep ends them."""
    signalled: RunId | None = None
    """The run that got the signal."""
    duplicate: frozenset[EventId] = frozenset()
    """Events that started nothing: they were there already or, where a run was to start again, are there no more."""
    claimed: Sequence[Claimed] = ()
    next_due: Sequence[tuple[str, int | None]] = ()
    """Of a claim: when each of its partitions has work again."""
    blocked: Sequence[tuple[str, tuple[str, ...]]] = ()
    """Of a claim: partitions that have due work but no room, and the keys that have none."""
    fired: frozenset[RunId] = frozenset()
    """Gatherings that became runs."""
    ticked: frozenset[tuple[FunctionId, str]] = frozenset()
    beat: Beat | None = None
    pruned: Pruned | None = None
    mended: Mapping[Fault, int] = MappingProxyType({})
    logged: Logged | None = None


class Aged(NamedTuple):
    """A run or an event as it is met by whoever walks through all of them, from the oldest on."""

    id: str
    row_count: int | None = None
    """How many rows go with it, those of one kind counted up to a limit; None where it has not expired."""
    byte_count: int = 0


class EventKey(NamedTuple):
    """The window of an event id for a function."""

    function_id: FunctionId
    event_id: str
    expires_at: int


class DueSchedule(NamedTuple):
    """A schedule whose time has come."""

    function_id: FunctionId
    cron: str
    next_at: int


class Schedule(NamedTuple):
    """A schedule and its next time; None when it never fires again."""

    function_id: FunctionId
    cron: str
    next_at: int | None


class RunFilter(NamedTuple):
    """Which runs to list, newest first. Instants are Unix ms; ``before`` is the cursor: the last id of a page."""

    environment: EnvironmentId
    function_ids: tuple[FunctionId, ...] | None = None
    """Of any of these functions."""
    statuses: frozenset[RunStatus] = frozenset()
    """In any of these statuses; empty for all."""
    event_id: EventId | None = None
    """Of a batch: each of its events has its run."""
    event_name: str | None = None
    queued_from: int | None = None
    queued_until: int | None = None
    delay_ms_max: int = DEBOUNCE_PERIOD_MS_MAX
    """How much later than its id a run may have been queued: its events were gathered meanwhile."""
    needles: tuple[bytes, ...] = ()
    """What the body of its event holds, all of it."""
    scanned_max: int | None = None
    """How many rows to look through, if not ``RUNS_SCANNED_MAX``."""
    before: str | None = None
    limit: int = 20


class FoundRuns(NamedTuple):
    """A page of runs, without outputs but the beginning of what a failed run failed with."""

    runs: Sequence[Run]
    names: Mapping[EventId, str]
    """Of their events."""
    searched_to: RunId | None
    """Set where the search was broken off after as many runs as it may look at: the last of these."""


class EndedCount(NamedTuple):
    """How many runs ended in a status within a bucket of time."""

    bucket: int
    """Its number, from 0."""
    status: RunStatus
    number: int


class RunCounts(NamedTuple):
    """Runs by when and how they ended, and those that haven't."""

    ended: Sequence[EndedCount]
    unfinished: Mapping[RunStatus, int]
    """Counted up to ``OPEN_COUNTED_MAX``."""
    counted_from: int | None
    """Set where there were more than ``RUNS_COUNTED_MAX``: what ended before wasn't counted."""


class EndedRun(NamedTuple):
    """A run that completed."""

    function_id: FunctionId
    ended_at: int
    took_ms: int


class FunctionCount(NamedTuple):
    """How many runs of a function ended in a status within a bucket of time."""

    function_id: FunctionId
    ended: EndedCount


class NamedEvent(NamedTuple):
    """The last event of a name."""

    name: str
    received_at: int
    body: bytes | None
    """None where it is too large for an example."""


class EventFilter(NamedTuple):
    """Which events to list, newest first."""

    environment: EnvironmentId
    name: str | None = None
    received_from: int | None = None
    received_until: int | None = None
    before: str | None = None
    limit: int = 20
    with_internal: bool = False
    needles: tuple[bytes, ...] = ()
    """What its body holds, all of it."""
    scanned_max: int | None = None
    """How many rows to look through, if not ``EVENTS_SCANNED_MAX``."""


class CausedRun(NamedTuple):
    """A run that an event started, or is in the batch of."""

    id: RunId
    function_id: FunctionId
    status: RunStatus


class FoundEvents(NamedTuple):
    """A page of events without their bodies, with up to ``CAUSED_SHOWN_MAX`` runs of each."""

    events: Sequence[Event]
    runs: Mapping[EventId, Sequence[CausedRun]]
    searched_to: EventId | None
    """Set where the search was broken off after as many events as it may look at: the last of these."""


class RunContent(NamedTuple):
    """What a condition may look into."""

    event: bytes
    output: bytes | None


class LogFilter(NamedTuple):
    """Which lines to list: those of one run in their order, or of all from the newest on.

    ``after`` and ``before`` are ids: of a run without either from its first line on, of all from the newest. ``taken_from``
    and ``taken_until`` are ids as well, the least of an instant at which the server took lines in.
    """

    environment: EnvironmentId
    run_id: RunId | None = None
    function_id: FunctionId | None = None
    attempt_id: AttemptId | None = None
    step_id: StepId | None = None
    level_min: int = 0
    text: str | None = None
    """Part of the message, whatever the case of its ASCII letters."""
    with_replayed: bool = False
    after: str | None = None
    before: str | None = None
    taken_from: str | None = None
    taken_until: str | None = None
    limit: int = 100


class LogPage(NamedTuple):
    """Lines, of one run in their order, of all the newest first."""

    lines: Sequence[LogLine]
    next: str | None
    """The id to go on from, in the same direction; None where there is nothing more."""


class RunDetail(NamedTuple):
    """All that is known of one run."""

    run: Run
    event: Event
    steps: Sequence[Step]
    attempts: Sequence[Attempt]
    jobs: Sequence[Job]
    step_bytes: Mapping[StepId, int] | None = None
    """Of an outline, which has no payloads: the size of each step's result."""


class Relative(NamedTuple):
    """A run that invoked another, or was invoked."""

    id: RunId
    function_id: FunctionId
    status: RunStatus
    step_id: StepId
    """The step that invoked, of whichever run that was."""
    step: str | None
    """Its name; None where that isn't known yet."""


class SentEvent(NamedTuple):
    """An event that a step sent."""

    id: EventId
    name: str
    step_id: StepId
    step: str


class Relatives(NamedTuple):
    """What a run is connected with: up to ``LINKS_MAX`` of a kind."""

    parent: Relative | None
    children: Sequence[Relative]
    sent: Sequence[SentEvent]


class EndedWait(NamedTuple):
    """A step that waited for an event, and got it."""

    run_id: RunId
    function_id: FunctionId
    step: str


class EventLinks(NamedTuple):
    """What an event is connected with."""

    waits: Sequence[EndedWait]
    """Up to ``LINKS_MAX``."""
    sent_by: tuple[RunId, StepId, str] | None
    """The step that sent it, and its name."""


class RowPayload(NamedTuple):
    """The payloads of one row of a run's timeline."""

    step: tuple[OpCode, bytes, bytes | None] | None
    """The op, memo and original of the step that it recorded."""
    error: bytes | None
    """What the attempt failed with."""
    input: bytes | None
    """The options of a request that the server is to make."""
    started_at: int | None
    ended_at: int | None


class Version(NamedTuple):
    """A function's configuration at a version, as the app registered it."""

    config: bytes
    created_at: int


class Aftermath(NamedTuple):
    """What became of an event: the runs that name it, and the batches and debounces that it is or was in."""

    runs: Sequence[Run]
    gatherings: Sequence[Gathering]
    gathered: Sequence[Run]


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


class ApiToken(NamedTuple):
    """An API token, of which only the hash is known."""

    id: str
    name: str
    hash: str
    created_at: int
    last_used_at: int | None


class Credentials(NamedTuple):
    """All by which somebody may come in, as hashes."""

    password: str | None
    """The account's; None where there is no account."""
    sessions: Mapping[str, int]
    """When each ends, Unix ms."""
    tokens: Sequence[ApiToken]


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

    async def load_spans(self, run_id: RunId) -> tuple[list[Span], list[AttemptId]]:
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

    async def check(self, walk: Walk, after: tuple[str, ...], *, now: int, limit: int) -> list[Checked]:
        """Look at rows whose keys are above ``after``, in their order: is what must hold true of them?

        What came to be within ``FAULT_AGE_MS`` may be on its way, and is no fault yet.
        """
        ...

    async def walk_event_keys(self, after: tuple[str, str], *, limit: int) -> list[EventKey]:
        """Return windows of event ids in the order of function and event id, those above ``after``."""
        ...
