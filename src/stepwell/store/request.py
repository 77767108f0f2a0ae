"""What may be asked of the store to write, and what comes of it. See ``interface`` for how requests are carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from stepwell.engine.core.model import (
    App,
    BegunStep,
    Event,
    FunctionChange,
    Intake,
    Job,
    LogLine,
    Pause,
    Span,
    Start,
    Tick,
    Transition,
)
from stepwell.protocol.ids import (
    EnvironmentId,
    EventId,
    FunctionId,
    JobId,
    RunId,
)
from stepwell.store.found import Fault, Minute, Sample


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
    work: int = 0
    """Another number than before whenever this replica has begun something, or left something in the queue."""
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
    """Delete what has expired: runs that ended, with their steps, attempts and events; events; windows of event ids;
    samples.

    It waits for nobody: what another transaction has is passed over, and so is all that must stay. That is a run which
    hasn't ended, an event that was received after ``received_before`` or that a run or a gathering still has, and a window
    that lasts longer than ``now``. Idempotent.
    """

    now: int
    runs: Sequence[RunId] = ()
    events: Sequence[EventId] = ()
    keys: Sequence[tuple[FunctionId, str]] = ()
    samples: Sequence[Minute] = ()
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
    """Store lines and spans of runs, and which steps they are at.

    Those of runs that aren't there, or that ended ``LOG_LATE_MS`` ago, are passed over; so is what a run has too many of,
    but for one line that says so. Spans are idempotent by their ids, lines aren't.

    A run keeps the last step that was said to have begun, and only if its call is under way, and it isn't done.
    """

    lines: Sequence[LogLine]
    spans: Sequence[Span]
    now: int
    begun: Sequence[BegunStep] = ()
    done: Callable[[Result], None] | None = None


class SampleRequest(NamedTuple):
    """Keep what was seen of functions: of a minute that is there already, the most. Idempotent."""

    samples: Sequence[Sample]
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
    | SampleRequest
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
    elder_count: int
    """Replicas with a lesser id that live: of those that live, just one has none."""
    work: int
    """It is another number than before whenever any of them has done something."""
    revisions: Mapping[EnvironmentId, int]


class Pruned(NamedTuple):
    """How much was deleted."""

    runs: int = 0
    events: int = 0
    keys: int = 0
    rows: int = 0
    """Attempts, steps and events of a batch, where they were limited."""
    samples: int = 0


class Logged(NamedTuple):
    """What became of lines and spans."""

    runs: frozenset[RunId]
    """The runs that are there. All else is of unknown ones."""
    lines: Sequence[LogLine]
    """The lines that were stored, with where they are from."""
    full_of_lines: frozenset[RunId] = frozenset()
    """Runs of which not all lines were stored."""
    full_of_spans: frozenset[RunId] = frozenset()
    begun: frozenset[RunId] = frozenset()
    """Runs that keep a step which has begun."""


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
