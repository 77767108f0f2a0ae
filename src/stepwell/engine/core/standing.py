"""Where a run stands: for each thing that it has open, what that waits for, since when, and what would release it.

The same rules and the same state decide when a job is claimed (``partition.py``, ``flow.py``, ``engine/wants.py``); here
they are put into words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from stepwell.engine.core.condition import condition_text
from stepwell.engine.core.endpoint import is_watch
from stepwell.engine.core.expression import Expression, to_key
from stepwell.engine.core.flow import throttle
from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import (
    Attempt,
    BegunStep,
    Function,
    Job,
    JobKind,
    PauseMode,
    Run,
    RunStatus,
    SingletonMode,
    Wait,
    WaitKind,
)
from stepwell.engine.core.partition import Scope, Token, TokenKind, parse, slot_key
from stepwell.engine.core.rules import Rules, SingletonRule, SlotRule, ThrottleRule
from stepwell.errors import ExpressionError
from stepwell.limits import LINE_COUNTED_MAX, SLEEP_MS_MAX
from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import duration_text, rough_text, time_text
from stepwell.protocol.ids import DISCOVER, FunctionId, ReplicaId, RunId
from stepwell.protocol.ops import OpCode

_VALUE_CHARS_MAX: Final = 80
_SAID_MAX: Final = 3
_ENDS: Final = {
    "api": "it was cancelled by the API",
    "event": "it was cancelled by an event of one of its function's cancel rules",
    "singleton": "it was cancelled for a newer run: its function is a singleton in mode cancel",
    "start_timeout": "it was cancelled because it had not started within timeouts.start",
    "finish_timeout": "it was cancelled because it had not ended within timeouts.finish",
}
_SKIPS: Final = {
    "duplicate_event_id": "the function was started by an event with this id before, within 24 hours",
    "idempotency": "the function was started with this value of its idempotency expression before, within 24 hours",
    "rate_limited": "the function's rate limit had no room for it",
    "singleton": "the function is a singleton, and another run of it went on",
    "paused": "the function was paused, and drops new runs meanwhile",
    "archived": "no app had the function any more",
}


class ReasonKind(StrEnum):
    """What something open in a run waits for."""

    CALL = "call"  # the app is called
    APP = "app"  # the app works on a run that began there
    FETCH = "fetch"  # the server makes a request
    TIMER = "timer"
    EVENT = "event"
    SIGNAL = "signal"
    RUN = "run"  # a function that a step invoked
    RETRY = "retry"
    LATER = "later"  # the event's ts is a time to come
    PAUSE = "pause"
    LIMIT = "limit"  # concurrency
    SINGLETON = "singleton"
    THROTTLE = "throttle"
    SLOTS = "slots"  # of the app, at this replica
    QUEUE = "queue"  # it is next
    DEADLINE = "deadline"  # a time-out of the whole run


class Used(NamedTuple):
    """How many use a concurrency key, and some of them."""

    number: int
    run_ids: tuple[RunId, ...] = ()


class Standing(NamedTuple):
    """What the database says of a run, all of one moment."""

    run: Run
    event: bytes
    jobs: Sequence[Job] = ()
    waits: Sequence[Wait] = ()
    failures: Sequence[Attempt] = ()
    """Its failed attempts, the newest first."""
    children: Sequence[Run] = ()
    """Runs that its steps invoked."""
    before: Mapping[str, int] = {}
    """By a job's id: how many due jobs of its partition are before it, counted up to ``LINE_COUNTED_MAX`` and one."""
    used: Mapping[str, Used] = {}
    throttles: Mapping[str, bytes] = {}
    begun: BegunStep | None = None
    """The step that the discovery under way is at, where that is known."""


class Surroundings(NamedTuple):
    """What is known of a run's function and its app."""

    function: Function
    rules: Rules
    app: str
    is_app_archived: bool
    calls_max: int
    calls_free: int
    """Call slots that this replica has for the app."""
    names: Mapping[FunctionId, str]
    """The functions' names."""


class Limiting(NamedTuple):
    """A rule that a job's partition stands under, with the key that is counted."""

    token: Token
    rule: SlotRule | SingletonRule | ThrottleRule
    key: str


class Sought(msgspec.Struct, frozen=True):
    """The event that a wait is for."""

    name: str
    condition: str | None
    """With the run's own event put in; null where any event of the name will do."""


class Child(msgspec.Struct, frozen=True):
    """The run that a step waits for."""

    id: str
    function: str
    status: RunStatus


class InProgress(msgspec.Struct, frozen=True):
    """A call, or a request, that is being made."""

    replica: ReplicaId
    attempt: int
    """1 for the first."""
    max_attempts: int


class LimitState(msgspec.Struct, frozen=True):
    """A limit, and who has it."""

    rule: str
    """``concurrency``, ``run_concurrency``, ``singleton`` or ``throttle``."""
    scope: str
    key: str | None
    """The key's expression."""
    value: str | None
    """The key's value for this run's event."""
    limit: int
    in_use: int
    used_by: tuple[str, ...]
    """Some of the runs."""


class Seen(msgspec.Struct, frozen=True):
    """An error of an attempt."""

    name: str
    message: str


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why one thing that a run has open doesn't go on, or how it does. Instants are Unix ms."""

    kind: ReasonKind
    text: str
    release: str
    """What would let it go on."""
    step: str | None = None
    since: int
    until: int | None = None
    """When it goes on by itself, at the latest."""
    before: int | None = None
    """How many due jobs are before it in its line; ``LINE_COUNTED_MAX`` and one for more."""
    event: Sought | None = None
    signal: str | None = None
    run: Child | None = None
    call: InProgress | None = None
    limit: LimitState | None = None
    error: Seen | None = None


def limitings(partition: str, function: Function, rules: Rules) -> list[Limiting]:
    """Return the rules that hold for a partition, as the function has them now; one that is gone limits nothing."""
    found: list[Limiting] = []
    for token in parse(partition).tokens:
        rule = _rule(token, rules)
        if rule is not None:
            scope = rule.scope if isinstance(rule, SlotRule) else Scope.FN
            found.append(Limiting(token, rule, slot_key(token, function.id, function.environment, scope)))
    return found


def reasons(standing: Standing, around: Surroundings, *, now: int) -> list[Reason]:
    """Say of everything that a run has open why it doesn't go on; what goes on by itself first comes last."""
    found = [reason for job in standing.jobs for reason in _of_job(job, standing, around, now)]
    return sorted(found, key=lambda reason: (reason.kind is ReasonKind.DEADLINE, reason.until or 0))


def why_waiting(job: Job, standing: Standing, around: Surroundings, *, now: int) -> str | None:
    """Say what one job waits for, without the name of its step; None when it is being worked on."""
    if job.owner is not None:
        return None
    return "; ".join(reason.text.removeprefix(_step(job)) for reason in _of_job(job, standing, around, now))


def summary(run: Run, found: Sequence[Reason], error: Seen | None) -> str:
    """Say in one sentence where a run stands. ``error`` is what it failed with."""
    if run.status.is_final:
        return _ending(run, error)
    told = [reason.text for reason in found if reason.kind is not ReasonKind.DEADLINE]
    if not told:
        return "nothing is open in it: the reconciler lets it go on within a minute (see `stepwell doctor`)"
    rest = f"; and {len(told) - _SAID_MAX} more" if len(told) > _SAID_MAX else ""
    return "; ".join(told[:_SAID_MAX]) + rest


def quoted(name: str) -> str:
    """Put a name into a sentence: as it is, unless something in it can't be seen or turns text around."""
    # Emoji of several people or colours are put together by a joiner, which is as good as printable.
    return f"'{name}'" if name.replace("\u200d", "").isprintable() else repr(name)


def skip_text(reason: str) -> str:
    """Say why a run was skipped."""
    return _SKIPS.get(reason, reason or "no reason is known")


def _ending(run: Run, error: Seen | None) -> str:
    at = f" at {time_text(run.ended_at)}" if run.ended_at is not None else ""
    match run.status:
        case RunStatus.COMPLETED:
            return f"its function returned{at}"
        case RunStatus.FAILED:
            what = f": {error.name}: {error.message}" if error is not None else ""
            return f"it failed{at}{what}"
        case RunStatus.SKIPPED:
            return f"it was not started: {skip_text(run.reason or '')}"
        case _:
            return _ENDS.get(run.reason or "", f"it was cancelled ({run.reason})") + at


def _of_job(job: Job, standing: Standing, around: Surroundings, now: int) -> list[Reason]:
    match job.kind:
        case JobKind.TIMEOUT | JobKind.CANCEL:
            return [_guard(job, now)]
        case JobKind.TIMER:
            return [_timer(job, now)]
        case JobKind.WAIT:
            return [_wait(job, standing, around, now)]
        case JobKind.FETCH | JobKind.DISCOVER | JobKind.STEP:
            if job.owner is not None:
                return [_in_progress(job, job.owner, standing, around, now)]
            if job.due_at > now:
                return [_not_due(job, standing, around, now)]
            if job.kind is JobKind.FETCH:
                return [_next(job, standing, "its request is made in a moment")]
            return _held_back(job, standing, around, now) or [
                _next(job, standing, f"{_after_loss(job)}it is queued, and called in a moment")
            ]


def _guard(job: Job, now: int) -> Reason:
    if job.kind is JobKind.CANCEL or job.due_at <= now:
        text, until = "it is cancelled in a moment", None
    else:
        aim = "started" if job.title == "start" else "ended"
        text, until = f"it is cancelled at {_when(job.due_at, now)}, unless it has {aim}", job.due_at
    return Reason(
        kind=ReasonKind.DEADLINE, text=text, release="nothing: it is a limit of time", since=job.created_at, until=until
    )


def _timer(job: Job, now: int) -> Reason:
    if job.due_at <= now:
        text = f"{_step(job)}is over: it goes on in a moment"
        return Reason(
            kind=ReasonKind.QUEUE, text=text, release="nothing is needed", step=job.title or None, since=job.due_at
        )
    return Reason(
        kind=ReasonKind.TIMER,
        text=f"{_step(job)}sleeping until {_when(job.due_at, now)}",
        release="that time",
        step=job.title or None,
        since=job.created_at,
        until=job.due_at,
    )


def _wait(job: Job, standing: Standing, around: Surroundings, now: int) -> Reason:
    if job.memo is not None or job.resolved_by is not None or job.due_at <= now:
        what = "has timed out" if job.memo is None and job.resolved_by is None else "has what it waited for"
        return Reason(
            kind=ReasonKind.QUEUE,
            text=f"{_step(job)}{what}: it goes on in a moment",
            release="nothing is needed",
            step=job.title or None,
            since=job.due_at,
        )
    end = f"it times out at {_when(job.due_at, now)}"
    wait = next((wait for wait in standing.waits if wait.job_id == job.id), None)
    if job.op == OpCode.INVOKE_FUNCTION:
        return _invoked(job, standing, around, end)
    if wait is None:
        return Reason(
            kind=ReasonKind.SIGNAL if job.op == OpCode.WAIT_FOR_SIGNAL else ReasonKind.EVENT,
            text=f"{_step(job)}waits for what can't come any more; {end}",
            release="its time-out: its condition is false whatever comes, or another run took its signal over",
            step=job.title or None,
            since=job.created_at,
            until=job.due_at,
        )
    if wait.kind is WaitKind.SIGNAL:
        return Reason(
            kind=ReasonKind.SIGNAL,
            text=f"{_step(job)}waits for the signal {quoted(wait.name)}; {end}",
            release=f"the signal {quoted(wait.name)}, or the time-out",
            step=job.title or None,
            since=job.created_at,
            until=job.due_at,
            signal=wait.name,
        )
    condition = condition_text(wait.path, wait.value, wait.condition)
    which = f"the event {quoted(wait.name)}" + (f" with {condition}" if condition is not None else "")
    return Reason(
        kind=ReasonKind.EVENT,
        text=f"{_step(job)}waits for {which}; {end}",
        release=f"{which}, or the time-out",
        step=job.title or None,
        since=job.created_at,
        until=job.due_at,
        event=Sought(wait.name, condition),
    )


def _invoked(job: Job, standing: Standing, around: Surroundings, end: str) -> Reason:
    run = next((run for run in standing.children if run.parent_step_id == job.step_id), None)
    child = None
    what = "the function that it invoked, whose run isn't there yet: its events are collected first"
    if run is not None:
        child = Child(run.id, around.names.get(run.function_id, run.function_id), run.status)
        what = f"run {child.id} of {child.function}, which is {child.status}"
    # A time-out that nobody asked for is as long as it can be, and says nothing.
    is_bounded = job.due_at - job.created_at < SLEEP_MS_MAX
    return Reason(
        kind=ReasonKind.RUN,
        text=f"{_step(job)}waits for {what}" + (f"; {end}" if is_bounded else ""),
        release="the end of that run" + (", or the time-out" if is_bounded else ""),
        step=job.title or None,
        since=job.created_at,
        until=job.due_at,
        run=child,
    )


def _in_progress(job: Job, owner: ReplicaId, standing: Standing, around: Surroundings, now: int) -> Reason:
    is_fetch = job.kind is JobKind.FETCH
    attempt = f"attempt {job.attempt + 1} of {job.max_attempts}"
    begun = standing.begun
    if begun is not None and begun.attempt_id == attempt_id(job):
        step, since, release = begun.title, begun.started_at, "the end of that step"
        lasted = rough_text(max(0, now - since))
        text = f"step {quoted(step)} has been running since {time_text(since)} (for {lasted}): {attempt}, in app {quoted(around.app)}"
    else:
        step, since, release = job.title or None, job.leased_at or job.due_at, "the answer"
        what = "its request is being made" if is_fetch else f"app {quoted(around.app)} is being called"
        text = f"{_step(job)}{what}: {attempt}, since {time_text(since)}"
    return Reason(
        kind=ReasonKind.FETCH if is_fetch else ReasonKind.CALL,
        text=f"{text}, by replica {owner}",
        release=release,
        step=step,
        since=since,
        call=InProgress(owner, job.attempt + 1, job.max_attempts),
    )


def _not_due(job: Job, standing: Standing, around: Surroundings, now: int) -> Reason:
    if is_watch(job):
        return Reason(
            kind=ReasonKind.APP,
            text=f"app {quoted(around.app)} works on it by itself; if it says no more until {_when(job.due_at, now)},"
            " the server calls it",
            release="a report of the app",
            since=job.created_at,
            until=job.due_at,
        )
    if job.attempt == 0:
        return Reason(
            kind=ReasonKind.LATER,
            text=f"{_step(job)}begins at {_when(job.due_at, now)}, the time that its event has",
            release="that time",
            step=job.title or None,
            since=job.created_at,
            until=job.due_at,
        )
    failure = _failure(job, standing)
    step = job.title or (failure.title if failure is not None else "")
    error = _error(failure)
    after = f" after {error.name}: {error.message}" if error is not None else ""
    gone = f" (app {quoted(around.app)} was removed; its URL is called all the same)" if around.is_app_archived else ""
    due = f"attempt {job.attempt + 1} of {job.max_attempts} is due at {_when(job.due_at, now)}"
    return Reason(
        kind=ReasonKind.RETRY,
        text=f"{_of_step(step)}is tried again{after}: {due}{gone}",
        release="that time",
        step=step or None,
        since=failure.ended_at if failure is not None else job.created_at,
        until=job.due_at,
        error=error,
    )


def _failure(job: Job, standing: Standing) -> Attempt | None:
    """Return what a job is tried again after: a failure of its step, or of one that its call to the function worked on."""
    if job.step_id == DISCOVER:
        for attempt in standing.failures:
            if attempt.retry_at == job.due_at:
                return attempt
    return next((attempt for attempt in standing.failures if attempt.step_id == job.step_id), None)


def _held_back(job: Job, standing: Standing, around: Surroundings, now: int) -> list[Reason]:
    """Return all that keeps a due call from being made."""
    found: list[Reason] = []
    since = max(job.due_at, job.created_at)
    before = standing.before.get(job.id)
    pause = around.function.pause
    tokens = parse(job.partition).tokens
    is_held = any(token.kind is TokenKind.HELD for token in tokens)
    if pause is not None and (pause.is_stopped or (pause.mode is PauseMode.HOLD and is_held)):
        found.append(
            Reason(
                kind=ReasonKind.PAUSE,
                text=f"{_step(job)}is held: {around.function.slug} is paused since {time_text(pause.since)}",
                release=f"stepwell functions resume {around.function.slug}",
                step=job.title or None,
                since=max(since, pause.since),
                before=before,
            )
        )
    for limiting in limitings(job.partition, around.function, around.rules):
        if isinstance(limiting.rule, ThrottleRule):
            reason = _throttled(job, limiting, limiting.rule, standing, now)
        else:
            reason = _limited(job, limiting, limiting.rule, standing, now)
        if reason is not None:
            found.append(msgspec.structs.replace(reason, since=since, before=before))
    if not found and around.calls_free <= 0:
        text = f"{_after_loss(job)}all {around.calls_max} calls to app {quoted(around.app)} that this replica may make are under way"
        found.append(
            Reason(
                kind=ReasonKind.SLOTS,
                text=f"{_step(job)}is queued: {text}{_position(before)}",
                release="the end of one of those calls; or more of them: --calls-per-app",
                step=job.title or None,
                since=since,
                before=before,
            )
        )
    return found


def _limited(
    job: Job, limiting: Limiting, rule: SlotRule | SingletonRule, standing: Standing, now: int
) -> Reason | None:
    used = standing.used.get(limiting.key, Used(0))
    others = tuple(run_id for run_id in used.run_ids if run_id != job.run_id)
    is_singleton = isinstance(rule, SingletonRule)
    if is_singleton:
        limit, in_use = 1, used.number - 1  # its own place in line is among them
        if rule.mode is not SingletonMode.CANCEL:
            return None
    else:
        limit, in_use = rule.limit, used.number
    if in_use < limit:
        return None
    name = {TokenKind.STEPS: "concurrency", TokenKind.RUNS: "run_concurrency"}.get(limiting.token.kind, "singleton")
    state = LimitState(
        rule=name,
        scope=Scope.FN if is_singleton else rule.scope,
        key=rule.key.text if rule.key is not None else None,
        value=_value(rule.key, standing.event, now),
        limit=limit,
        in_use=in_use,
        used_by=others,
    )
    of = f" of {state.key} = {state.value}" if state.key is not None else ""
    by = f" (run {others[0]}{' and others' if in_use > 1 else ''})" if others else ""
    what = {"concurrency": "calls", "run_concurrency": "runs"}.get(name, "run")
    if is_singleton:
        text = f"waits for the end of the run that it replaces{of}{by}"
        release = "the end of that run, which is being cancelled"
    else:
        text = f"waits for {name}{of}: {in_use:,} of {limit:,} {what} are under way{by}{_position(standing.before.get(job.id))}"
        release = f"the end of one of those {what}; or a higher limit"
    return Reason(
        kind=ReasonKind.SINGLETON if is_singleton else ReasonKind.LIMIT,
        text=_step(job) + text,
        release=release,
        step=job.title or None,
        since=job.due_at,
        limit=state,
    )


def _throttled(job: Job, limiting: Limiting, rule: ThrottleRule, standing: Standing, now: int) -> Reason | None:
    _, allowed, next_at = throttle(
        standing.throttles.get(limiting.key),
        limit=rule.limit,
        period_ms=rule.period_ms,
        burst=rule.burst,
        now=now,
        wanted=1,
    )
    if allowed or next_at is None:
        return None
    before = standing.before.get(job.id) or 0
    value = _value(rule.key, standing.event, now)
    of = f" of {rule.key.text} = {value}" if rule.key is not None else ""
    rate = f"{rule.limit:,} starts in {duration_text(rule.period_ms)}"
    starts_at = next_at + before * rule.period_ms // rule.limit
    is_known = before <= LINE_COUNTED_MAX
    text = f"waits for its throttle{of} ({rate}): the next start is at {_when(next_at, now)}{_position(before)}"
    return Reason(
        kind=ReasonKind.THROTTLE,
        text=_step(job) + text,
        release="its turn; or a higher limit",
        step=job.title or None,
        since=job.due_at,
        until=starts_at if is_known else None,
        limit=LimitState(
            rule="throttle",
            scope=Scope.FN,
            key=rule.key.text if rule.key is not None else None,
            value=value,
            limit=rule.limit,
            in_use=rule.limit,
            used_by=(),
        ),
    )


def _next(job: Job, standing: Standing, text: str) -> Reason:
    before = standing.before.get(job.id)
    return Reason(
        kind=ReasonKind.QUEUE,
        text=f"{_step(job)}{text}{_position(before)}",
        release="nothing is needed",
        step=job.title or None,
        since=max(job.due_at, job.created_at),
        before=before,
    )


def _rule(token: Token, rules: Rules) -> SlotRule | SingletonRule | ThrottleRule | None:
    match token.kind:
        case TokenKind.STEPS:
            return next((rule for rule in rules.steps if rule.id == token.rule_id), None)
        case TokenKind.RUNS:
            return next((rule for rule in rules.runs if rule.id == token.rule_id), None)
        case TokenKind.SINGLETON:
            return rules.singleton if rules.singleton is not None and rules.singleton.id == token.rule_id else None
        case TokenKind.THROTTLE:
            return rules.throttle if rules.throttle is not None and rules.throttle.id == token.rule_id else None
        case TokenKind.HELD:
            return None


def _value(key: Expression | None, event: bytes, now: int) -> str | None:
    if key is None:
        return None
    try:
        text = to_key(_evaluated(key, event, now))
    except ExpressionError:
        return "(it can't be evaluated)"
    return text if len(text) <= _VALUE_CHARS_MAX else text[: _VALUE_CHARS_MAX - 1] + "…"


def _evaluated(key: Expression, event: bytes, now: int) -> Json:
    return key.evaluate({"event": msgspec.json.decode(event)}, now)


class _Error(msgspec.Struct, frozen=True):
    name: Json = None
    message: Json = None


def _error(attempt: Attempt | None) -> Seen | None:
    if attempt is None or attempt.error is None:
        return None
    try:
        found = msgspec.json.decode(attempt.error, type=_Error)
    except msgspec.DecodeError:
        return None
    name, message = found.name, found.message
    return Seen(name if isinstance(name, str) else "Error", message if isinstance(message, str) else "")


def _step(job: Job) -> str:
    """Begin a sentence about a job."""
    return _of_step(job.title)


def _of_step(title: str) -> str:
    return f"step {quoted(title)}: " if title else ""


def _after_loss(job: Job) -> str:
    return "the server stopped during the last attempt; " if job.lost_count else ""


def _position(before: int | None) -> str:
    if not before:
        return ""
    count = f"more than {LINE_COUNTED_MAX:,}" if before > LINE_COUNTED_MAX else f"{before:,}"
    return f"; {count} {'is' if before == 1 else 'are'} before it in line"


def _when(at: int, now: int) -> str:
    return f"{time_text(at)} (in {rough_text(at - now)})"
