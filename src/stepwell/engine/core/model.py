"""The nouns of the engine, as frozen structs: what is stored, and what a transition changes. No behaviour.

Instants are integer milliseconds UTC. Payloads are bytes in canonical JSON form.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

import msgspec

from stepwell.protocol.event import EMPTY_OBJECT
from stepwell.protocol.ids import (
    AppId,
    AttemptId,
    EnvironmentId,
    EventId,
    FunctionId,
    JobId,
    LogId,
    ReplicaId,
    RunId,
    SpanId,
    StepId,
)
from stepwell.protocol.ops import Op, OpCode
from stepwell.protocol.sync import FunctionConfig


class RunStatus(StrEnum):
    """Where a run is. The last four are final: no edge leaves them."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        return self not in UNFINISHED


UNFINISHED: Final = frozenset((RunStatus.QUEUED, RunStatus.RUNNING))


class JobKind(StrEnum):
    """What there is to do for a run."""

    DISCOVER = "discover"  # call the app to find out what is next
    STEP = "step"  # call the app to run one planned step
    FETCH = "fetch"  # make a step's HTTP request, for which no app is called
    TIMER = "timer"  # end a sleep
    WAIT = "wait"  # end a wait: due at its time-out, or as soon as what it waits for has come
    CANCEL = "cancel"  # cancel the run: an event that it shall be cancelled by has come
    TIMEOUT = "timeout"  # cancel the run if it has not started, or not ended, by now

    @property
    def is_call(self) -> bool:
        """Tell whether user code is called for it."""
        return self in _CALLS

    @property
    def is_guard(self) -> bool:
        """Tell whether it only ends the run: a run that has nothing else is stuck."""
        return self in _GUARDS


_CALLS: Final = frozenset((JobKind.DISCOVER, JobKind.STEP))
_GUARDS: Final = frozenset((JobKind.CANCEL, JobKind.TIMEOUT))


class Outcome(StrEnum):
    """How an attempt ended."""

    OK = "ok"
    ERROR = "error"  # to be tried again
    FAILED = "failed"  # for good
    LOST = "lost"  # its replica died, or its run ended meanwhile: it changed nothing


class PauseMode(StrEnum):
    """What becomes of the runs that events would start."""

    HOLD = "hold"  # they wait until the function goes on
    DROP = "drop"  # they are skipped


class Pause(msgspec.Struct, frozen=True):
    """A function that shall start no runs."""

    since: int
    mode: PauseMode
    is_stopped: bool
    """Runs under way make no more calls either."""


class Function(msgspec.Struct, frozen=True):
    """A registered function at its newest version."""

    id: FunctionId
    app_id: AppId
    environment: EnvironmentId
    slug: str
    version: int
    config: FunctionConfig
    max_attempts: int
    is_archived: bool = False
    registered: bytes = b""
    """The configuration as the app registered it, in canonical form, with what ``config`` doesn't read."""
    pause: Pause | None = None


class Event(msgspec.Struct, frozen=True):
    """A stored event. ``id`` is ours, ``event_id`` the sender's (or ours when there was none)."""

    id: EventId
    environment: EnvironmentId
    name: str
    event_id: str
    ts: int
    received_at: int
    body: bytes
    original: bytes | None = None
    """The event as it came, when the canonical form had to round a number."""
    is_internal: bool = False
    is_seeded: bool = False
    """The id comes from the sender's seed: the event may be there already (protocol 2.2)."""
    has_own_id: bool = False
    """The sender chose the id: it is an idempotency key for 24 hours (protocol 2.4)."""


class Run(msgspec.Struct, frozen=True):
    """One invocation of a function. ``version`` rises with each commit."""

    id: RunId
    environment: EnvironmentId
    function_id: FunctionId
    function_version: int
    event_id: EventId
    queued_at: int
    status: RunStatus = RunStatus.QUEUED
    version: int = 0
    request_version: int = -1
    is_plan_forced: bool = False
    started_at: int | None = None
    ended_at: int | None = None
    output: bytes | None = None
    reason: str | None = None
    """Why the run was skipped or cancelled, or the code of the error that failed it."""
    original_run_id: RunId | None = None
    """The run that this one does again."""
    partition: str = ""
    """The partition of its first call; that of the later ones is a part of it (``core/partition.py``)."""
    parent_run_id: RunId | None = None
    """The run that invoked this one and waits for its end, in ``parent_step_id``."""
    parent_step_id: StepId | None = None
    is_batch: bool = False
    """It is for several events; ``event_id`` is the first."""


class Job(msgspec.Struct, frozen=True):
    """Something to do for a run. Its id is unique in the run; a retry keeps it.

    Jobs of a partition are claimed in the order of ``due_at``. A follow-up inherits that of the job it follows, within
    ``PLACE_KEPT_MS``.
    """

    run_id: RunId
    id: JobId
    partition: str
    kind: JobKind
    step_id: str
    due_at: int
    created_at: int
    max_attempts: int
    attempt: int = 0
    title: str = ""
    op: str = ""
    stack_current: int = 0
    is_joined: bool = False
    """A discovery is made only when the last joined job of the run is done (protocol 4.10, version 2)."""
    lost_count: int = 0
    generation: int = 0
    owner: ReplicaId | None = None
    leased_at: int | None = None
    payload: bytes | None = None
    """Of a fetch: the request to make (the op's ``opts``). Else what the step was given (``core/step_input.py``)."""
    memo: bytes | None = None
    """Of a wait that was resolved: what its step becomes."""
    resolved_by: EventId | None = None
    """Of a wait that was resolved by an event: that event, whose body is the memo."""


class WaitKind(StrEnum):
    """What a wait is for."""

    EVENT = "event"  # resolves a job of kind WAIT
    SIGNAL = "signal"  # likewise
    CANCEL = "cancel"  # cancels the run


class Wait(msgspec.Struct, frozen=True):
    """What a run waits for, in the form in which what comes finds it.

    An event of the name finds the waits whose ``value`` it has at ``path`` (both empty: any), and of these it resolves
    those whose ``condition`` is true. Values are in canonical JSON; the condition has the values of the run's own event
    in it (``core/condition.py``).
    """

    environment: EnvironmentId
    run_id: RunId
    job_id: JobId
    """The job of kind WAIT. Of a cancel rule: a name that no job has yet."""
    kind: WaitKind
    name: str
    """The event's name, or the signal's."""
    path: str
    value: str
    condition: str | None
    created_at: int
    expires_at: int
    since: int | None = None
    """Look back: an event that was received since then, Unix ms, resolves it at once."""
    trigger_id: EventId | None = None
    """The run's own event: it looks back to when that was received, and not for that. None for a run done again."""
    passes_over: tuple[str, ...] = ()
    """Events that the run has had, by the senders' ids: it doesn't look back for them."""
    is_replacing: bool = False
    """Of a signal: whoever waits for it gives it up."""
    takes_kept: bool = False
    """Of a signal: one that was sent before, and kept, resolves it at once."""


class Resolution(msgspec.Struct, frozen=True):
    """The end of what another run waits for: the memo of its step."""

    run_id: RunId
    step_id: StepId
    memo: bytes


class Invocation(msgspec.Struct, frozen=True):
    """A function that a step starts and waits for. ``data`` is canonical."""

    step_id: StepId
    slug: str
    data: bytes
    user: bytes
    v: str | None
    expires_at: int
    title: str = ""


class Step(msgspec.Struct, frozen=True):
    """A memo entry: what is known of a finished step, in the form in which calls carry it (protocol 4.4)."""

    run_id: RunId
    id: StepId
    position: int
    op: OpCode
    title: str
    memo: bytes
    started_at: int
    ended_at: int
    attempt_id: AttemptId | None = None
    original: bytes | None = None
    event_id: EventId | None = None
    """The event that ended its wait, or the first of those that it sent."""
    input: bytes | None = None
    """What it was given (``core/step_input.py``). Only written with a step: calls don't carry it."""


class Exchange(NamedTuple):
    """What an HTTP call was, beside its content."""

    status: int
    sent_bytes: int
    """The body of the request."""
    received_bytes: int
    """The body of the answer."""


class Attempt(msgspec.Struct, frozen=True):
    """One call of user code for one job."""

    run_id: RunId
    id: AttemptId
    step_id: str
    title: str
    attempt: int
    started_at: int
    ended_at: int
    outcome: Outcome
    error: bytes | None = None
    retry_at: int | None = None
    exchange: Exchange | None = None
    """None where no answer came, or none was waited for."""


class LogLine(msgspec.Struct, frozen=True):
    """A line that user code wrote while it worked on a run. The store adds ``environment`` and ``function_id``."""

    id: LogId
    run_id: RunId
    at: int
    """When it was written, by the clock of the app."""
    level: int
    """10 debug, 20 info, 30 warning, 40 error, 50 critical."""
    logger: str
    message: str
    attempt_id: AttemptId | None = None
    """The call that wrote it."""
    attempt: int | None = None
    """The number of that call among those for its job; 0 for the first."""
    step_id: StepId | None = None
    """The step that wrote it; None for the code between steps."""
    step: str = ""
    """The step's name, which the line knows before the run does."""
    fields: bytes | None = None
    """A JSON object: what the line says besides."""
    is_replayed: bool = False
    """It was written by code between steps that an earlier call has run before."""
    span_id: SpanId | None = None
    """The span that it belongs to, where OpenTelemetry sent it."""
    environment: EnvironmentId = EnvironmentId("")
    function_id: FunctionId = FunctionId("")


class SpanStatus(StrEnum):
    """What a span says of its end."""

    UNSET = "unset"
    OK = "ok"
    ERROR = "error"


class Span(msgspec.Struct, frozen=True):
    """A stretch of time in the work on a run, as the app measured it with OpenTelemetry."""

    run_id: RunId
    id: SpanId
    parent_id: SpanId | None
    name: str
    started_at: int
    duration_us: int
    status: SpanStatus = SpanStatus.UNSET
    attributes: bytes | None = None
    """A JSON object."""


class BegunStep(msgspec.Struct, frozen=True):
    """A step that runs in a discovery under way: the app tells of it before it reports it, when it takes longer."""

    run_id: RunId
    attempt_id: AttemptId
    """The call."""
    step_id: StepId
    title: str
    started_at: int
    ends_call: bool = False
    """The call ends with it; others report it, and go on."""
    input: bytes | None = None
    """What it was given; None where it is nothing, or more than is kept meanwhile."""
    position: int = 0
    """The place among the run's steps that it will have, unless another is done first. The store fills it in."""

    @property
    def result_id(self) -> AttemptId:
        """The name of the attempt that it becomes when it is done."""
        return self.attempt_id if self.ends_call else reported_id(self.attempt_id, self.position)


def reported_id(call: AttemptId, position: int) -> AttemptId:
    """Name the attempt that a step is which a call reported while it went on."""
    return AttemptId(f"{call}.{position}")


class Draft(msgspec.Struct, frozen=True):
    """An event that a transition sends; the engine gives it an id and finds the functions that it starts."""

    name: str
    data: bytes
    event_id: str | None = None


class Transition(msgspec.Struct, frozen=True):
    """What one reply (or timer, or cancellation) changes. It is committed whole, or not at all.

    It was computed from ``run.version - 1``: the store refuses it when the run has moved on. ``job`` is the job that
    it ends, fenced by its generation. A final transition removes all jobs of the run.
    """

    run: Run
    at: int
    job: Job | None = None
    attempt: Attempt | None = None
    steps: tuple[Step, ...] = ()
    jobs: tuple[Job, ...] = ()
    events: tuple[Draft, ...] = ()
    kept: Job | None = None
    """The job under way that reported steps (a checkpoint): fenced like ``job``, but it goes on, its retries unused."""
    attempts: tuple[Attempt, ...] = ()
    """Of a checkpoint: one for each step."""
    waits: tuple[Wait, ...] = ()
    closed: tuple[Job, ...] = ()
    """Jobs of steps that nobody wants any more, since they have lost a race: they go, if nobody has begun them."""
    invocations: tuple[Invocation, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    """What waits end by it: the parent's, when the run has ended; its own, where there was nothing to wait for."""
    has_waits: bool = False
    """Of a final transition: the run may have waits or cancel rules, which go with it."""

    @property
    def is_final(self) -> bool:
        return self.run.status.is_final


class GatherKind(StrEnum):
    """Why a start waits for more events."""

    BATCH = "batch"
    DEBOUNCE = "debounce"


class Gather(msgspec.Struct, frozen=True):
    """Collect the event with others of its key: a batch, or a debounce, which starts with the last."""

    kind: GatherKind
    key: str
    period_ms: int
    """A batch's time-out; a debounce's period."""
    size_max: int = 0
    """A full batch starts at once."""
    delay_max_ms: int | None = None
    """A debounce's time-out: it starts so long after its first event, whatever comes."""


class RateLimit(msgspec.Struct, frozen=True):
    """Up to ``limit`` starts of a key in any ``period_ms``."""

    key: str
    limit: int
    period_ms: int


class SingletonMode(StrEnum):
    """What a singleton does with a second start."""

    SKIP = "skip"
    CANCEL = "cancel"


class Singleton(msgspec.Struct, frozen=True):
    """One unfinished run of a key: the new one is skipped, or the old one cancelled."""

    key: str
    mode: SingletonMode


class Admission(msgspec.Struct, frozen=True):
    """What is asked before a run starts, in the transaction that starts it, in this order (protocol 11)."""

    skip_reason: str | None = None
    """The function is paused, say."""
    idempotency: str | None = None
    """The value of its idempotency expression."""
    rate: RateLimit | None = None
    gather: Gather | None = None
    singleton: Singleton | None = None


class Start(msgspec.Struct, frozen=True):
    """A run to start: its first job, its guards (time-outs), its cancel rules, and what is asked before."""

    run: Run
    job: Job
    guards: tuple[Job, ...] = ()
    waits: tuple[Wait, ...] = ()
    admission: Admission | None = None
    bodies: tuple[bytes, ...] = ()
    """Of a batch that is started again: its events, the first one first."""


class Intake(msgspec.Struct, frozen=True):
    """One event with what it starts."""

    event: Event
    starts: tuple[Start, ...] = ()
    is_stored: bool = False
    """The event is there already: a run for it is started again."""

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(start.run for start in self.starts)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The first jobs of the runs, in the same order."""
        return tuple(start.job for start in self.starts)


class Gathering(msgspec.Struct, frozen=True):
    """Events that wait to start a run together. ``run_id`` is the id that the run will have."""

    run_id: RunId
    environment: EnvironmentId
    function_id: FunctionId
    kind: GatherKind
    key: str
    version: int
    first_at: int
    due_at: int
    event_count: int
    byte_count: int


class App(msgspec.Struct, frozen=True):
    """A registered app."""

    id: AppId
    environment: EnvironmentId
    name: str
    transport: str
    url: str
    sdk: str
    framework: str
    version: str
    checksum: str
    synced_at: int
    archived_at: int | None = None


class FunctionChange(msgspec.Struct, frozen=True):
    """A function as a sync brings it, at its new version."""

    function: Function
    name: str
    config: bytes
    is_changed: bool
    crons: tuple[tuple[str, int | None], ...]
    """Its schedules with the time of their first tick."""


class Tick(msgspec.Struct, frozen=True):
    """One firing of a schedule: it happens only if ``next_at`` is still what was seen."""

    function_id: FunctionId
    cron: str
    seen_at: int
    next_at: int | None
    intake: Intake | None
    """None where the function is gone: the schedule only moves on."""


class ErrorBody(msgspec.Struct, frozen=True):
    """A standard error (protocol 2.6): what is known of a failure, in the protocol's words."""

    name: str
    message: str
    stack: str | None = None
    cause: msgspec.Raw | None = None
    data: msgspec.Raw | None = None


class OpsReply(msgspec.Struct, frozen=True):
    """The app reports ops (206)."""

    ops: Sequence[Op]
    request_version: int = 0
    no_retry: bool | None = None
    retry_after_ms: int | None = None
    exchange: Exchange | None = None


class ResultReply(msgspec.Struct, frozen=True):
    """The function returned (200)."""

    output: bytes
    exchange: Exchange | None = None


class ErrorReply(msgspec.Struct, frozen=True):
    """The function failed, or the app could not be reached or didn't answer as an SDK does."""

    error: ErrorBody
    output: bytes
    """What becomes the run's output when this was the last attempt."""
    code: str = "function_error"
    no_retry: bool | None = None
    retry_after_ms: int | None = None
    exchange: Exchange | None = None


Reply: TypeAlias = OpsReply | ResultReply | ErrorReply

EMPTY: Final = bytes(EMPTY_OBJECT)
