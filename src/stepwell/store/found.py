"""What is looked up: the filters by which rows are found, and the forms in which they are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from stepwell.engine.core.model import (
    Attempt,
    BegunStep,
    Event,
    Gathering,
    GatherKind,
    Job,
    LogLine,
    Run,
    RunStatus,
    Step,
)
from stepwell.limits import DEBOUNCE_PERIOD_MS_MAX
from stepwell.protocol.ids import (
    AttemptId,
    EnvironmentId,
    EventId,
    FunctionId,
    JobId,
    RunId,
    StepId,
)
from stepwell.protocol.ops import OpCode


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


class Lease(NamedTuple):
    """A job that is leased to this replica."""

    run_id: RunId
    job_id: JobId
    generation: int


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
    original: bytes | None
    """Its data as it came, where the canonical form had to round a number."""


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


class OpenGathering(NamedTuple):
    """A batch or debounce that an event waits in."""

    run_id: RunId
    """The id that its run will have."""
    function_id: FunctionId
    kind: GatherKind
    due_at: int


class FoundEvents(NamedTuple):
    """A page of events without their bodies, with up to ``CAUSED_SHOWN_MAX`` runs and as many gatherings of each."""

    events: Sequence[Event]
    runs: Mapping[EventId, Sequence[CausedRun]]
    gatherings: Mapping[EventId, Sequence[OpenGathering]]
    searched_to: EventId | None
    """Set where the search was broken off after as many events as it may look at: the last of these."""


class RunContent(NamedTuple):
    """What a condition may look into."""

    event: bytes
    output: bytes | None


class Minute(NamedTuple):
    """A minute of a function of which something is kept."""

    function_id: FunctionId
    at: int
    """When it began, Unix ms."""


class Sample(NamedTuple):
    """The most that was seen at once of a function within a minute, or within some minutes from ``at`` on."""

    function_id: FunctionId
    at: int
    backlog: int = 0
    """Calls that were due, and waited for their turn."""
    running: int = 0
    """Calls in progress."""
    runs_running: int = 0
    """Runs, from their first call to their end, where the function has a limit of its own for all of them."""

    def joined(self, other: Sample) -> Sample:
        """Return the most of both, of this one's minute."""
        return self._replace(
            backlog=max(self.backlog, other.backlog),
            running=max(self.running, other.running),
            runs_running=max(self.runs_running, other.runs_running),
        )


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
    """Without its body in an outline."""
    event_bytes: int
    output_bytes: int | None
    """None where there is none, or it is null."""
    steps: Sequence[Step]
    attempts: Sequence[Attempt]
    jobs: Sequence[Job]
    step_bytes: Mapping[StepId, int] | None = None
    """Of an outline, which has no payloads: the size of each step's result."""
    begun: BegunStep | None = None
    """The step that its discovery under way is at, where that is known."""


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
    """What the step was given; None where it is nothing, or more than is kept."""
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
