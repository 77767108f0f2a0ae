"""Makes the nouns of the engine for tests, and drives the run machine as the engine does, without any I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stepwell.engine.core.change import Answered, Policy
from stepwell.engine.core.fetch import FetchResult
from stepwell.engine.core.model import (
    ErrorBody,
    ErrorReply,
    Event,
    Function,
    Job,
    JobKind,
    OpsReply,
    Outcome,
    Pause,
    Reply,
    ResultReply,
    Run,
    Transition,
)
from stepwell.engine.core.run import advance, cancel, checkpoint, fire, guard, settle_fetch
from stepwell.engine.core.state import RunState
from stepwell.engine.core.trigger import new_run, start_job
from stepwell.protocol.canonical import encode
from stepwell.protocol.event import event_body
from stepwell.protocol.ids import AppId, EnvironmentId, EventId, FunctionId, ReplicaId, RunId, StepId, step_hash
from stepwell.protocol.ops import Op
from stepwell.protocol.sync import FunctionConfig, Runtime, StepConfig, Trigger

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
DEV = EnvironmentId("dev")
ME = ReplicaId("replica-1")


def ulid(number: int, letter: str = "0") -> str:
    """Return an id of 26 characters; ids rise with ``number`` among those of one letter."""
    return f"01{letter}{number:023d}"


def function_of(
    slug: str = "app-f",
    *,
    triggers: Sequence[Trigger] = (Trigger(event="a"),),
    retries: int = 4,
    app: str = "app",
    version: int = 1,
    is_archived: bool = False,
    environment: EnvironmentId = DEV,
    pause: Pause | None = None,
    **flow: Any,
) -> Function:
    """Make a function of which nothing but its name is special. ``flow`` are more members of its configuration, as apps write them."""
    url = f"http://localhost:3000/api/inngest?fnId={slug}&stepId=step"
    config = msgspec.structs.replace(
        msgspec.convert({"id": slug, "steps": {}, **flow}, FunctionConfig),
        name=slug,
        triggers=list(triggers),
        steps={"step": StepConfig(id="step", runtime=Runtime(url=url))},
        retries=retries,
    )
    return Function(
        id=FunctionId(f"id-of-{slug}"),
        app_id=AppId(app),
        environment=environment,
        slug=slug,
        version=version,
        config=config,
        max_attempts=config.max_attempts,
        is_archived=is_archived,
        pause=pause,
    )


def event_of(number: int = 1, name: str = "a", *, data: Any = None, ts: int = T0, id: str | None = None) -> Event:
    """Make a stored event; with ``id`` its sender chose that."""
    internal = ulid(number, "E")
    data = {} if data is None else data
    return Event(
        id=EventId(internal),
        environment=DEV,
        name=name,
        event_id=id or internal,
        ts=ts,
        received_at=ts,
        body=event_body(name=name, id=id or internal, ts=ts, data=encode(data)),
        has_own_id=id is not None,
    )


def op(
    code: str,
    name: str = "s",
    *,
    data: object = None,
    opts: object = None,
    error: object = None,
    value: str | None = None,
    id: str | None = None,
) -> Op:
    """Make an op for the step of a name. ``value`` is what a sleep has in its ``name``."""
    return Op(
        id=step_hash(name) if id is None else id,
        op=code,
        name=name if value is None else value,
        display_name=name,
        opts=opts,
        data=msgspec.Raw(msgspec.json.encode(data)),
        error=error,
    )


def ops(*members: Op, version: int = 2, no_retry: bool | None = None, retry_after_ms: int | None = None) -> OpsReply:
    """Make a 206."""
    return OpsReply(ops=members, request_version=version, no_retry=no_retry, retry_after_ms=retry_after_ms)


def result(output: bytes = b"null") -> ResultReply:
    """Make a 200."""
    return ResultReply(output)


def error(
    message: str = "boom", *, no_retry: bool | None = None, retry_after_ms: int | None = None, code: str | None = None
) -> ErrorReply:
    """Make a 500."""
    body = ErrorBody(name="Error", message=message)
    encoded = b'{"message":"%b","name":"Error"}' % message.encode()
    if code is None:
        return ErrorReply(body, encoded, no_retry=no_retry, retry_after_ms=retry_after_ms)
    return ErrorReply(body, encoded, code=code, no_retry=no_retry, retry_after_ms=retry_after_ms)


class Machine:
    """One run, driven as the engine drives it: due jobs are leased, replies are advanced, transitions are applied."""

    def __init__(
        self,
        function: Function | None = None,
        event: Event | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.function = function or function_of()
        self.event = event or event_of()
        self.policy = policy or Policy()
        self.now = T0
        self.chance = 0.0
        run = new_run(self.event, self.function, now=T0, run_id=RunId(ulid(1, "R")), partition=self.function.id)
        self.state = RunState(run, self.event.body, (), [start_job(run, self.function, due_at=T0)])
        self.transitions: list[Transition] = []
        self._stacks_seen: dict[str, int] = {}

    @property
    def run(self) -> Run:
        return self.state.run

    @property
    def last(self) -> Transition:
        return self.transitions[-1]

    @property
    def jobs(self) -> list[Job]:
        """The pending jobs, in the order of their due time."""
        return sorted(self.state.jobs.values(), key=lambda job: (job.due_at, job.created_at, job.id))

    def waiting(self) -> list[tuple[str, str]]:
        """What is to do, as (kind, step name or 'step')."""
        return sorted((job.kind.value, job.title or job.step_id) for job in self.jobs)

    def discoveries(self) -> list[Job]:
        return [job for job in self.jobs if job.kind is JobKind.DISCOVER]

    def job_of(self, name: str) -> Job:
        """The pending job of a step."""
        return next(job for job in self.jobs if job.step_id == step_hash(name))

    def lease(self, job: Job | None = None) -> Job:
        """Lease a job (the only one, when none is given): its call begins, with the memo as it is now."""
        if job is None:
            [job] = self.jobs
        leased = msgspec.structs.replace(job, owner=ME, generation=job.generation + 1, leased_at=self.now)
        self.state.put(leased)
        self._stacks_seen[leased.id] = len(self.state.stack)
        return leased

    def compute(self, job: Job, reply: Reply, *, took_ms: int = 10) -> Transition:
        """Advance without applying."""
        started_at, self.now = self.now, self.now + took_ms
        answered = Answered(
            reply=reply,
            started_at=started_at,
            ended_at=self.now,
            chance=self.chance,
            stack_seen=self._stacks_seen[job.id],
        )
        return advance(self.state, job, answered, self.function, self.policy)

    def answer(self, job: Job, reply: Reply, *, took_ms: int = 10) -> Transition:
        """Advance a leased job's reply and apply what it changes."""
        return self._apply(self.compute(job, reply, took_ms=took_ms))

    def reply(self, reply: Reply, job: Job | None = None) -> Transition:
        """Lease a job (the only one, when none is given), and answer it at once."""
        job = job if job is not None else next(iter(self.jobs))
        self.now = max(self.now, job.due_at)
        return self.answer(self.lease(job), reply)

    def fire(self, job: Job) -> Transition:
        """Let the time of a sleep come."""
        self.now = max(self.now, job.due_at)
        return self._apply(fire(self.state, self.lease(job), at=self.now))

    def guard(self, job: Job) -> Transition:
        """Let a guard do what it is for."""
        self.now = max(self.now, job.due_at)
        return self._apply(guard(self.state, self.lease(job), self.function, at=self.now))

    def checkpoint(self, job: Job, *steps: Op, took_ms: int = 10) -> Transition | None:
        """Report steps of a leased job's call, which goes on."""
        started_at, self.now = self.now, self.now + took_ms
        transition = checkpoint(
            self.state, job, steps, started_at=started_at, at=self.now, function=self.function, policy=self.policy
        )
        return self._apply(transition) if transition is not None else None

    def settle_fetch(self, job: Job, result: FetchResult) -> Transition:
        """Let the request of a fetch end."""
        self.now = max(self.now, job.due_at)
        leased = self.lease(job)
        answered = Answered(OpsReply(ops=()), self.now, self.now + 10, self.chance, 0)
        return self._apply(settle_fetch(self.state, leased, result, answered, self.function, self.policy))

    def cancel(self, reason: str = "api") -> Transition:
        return self._apply(cancel(self.state, self.function, at=self.now, reason=reason))

    def _apply(self, transition: Transition) -> Transition:
        self.state.apply(transition)
        self.transitions.append(transition)
        return transition

    def memo(self, name: str) -> bytes | None:
        return self.state.memo.get(step_hash(name))

    def outcome(self) -> Outcome:
        attempt = self.last.attempt
        assert attempt is not None
        return attempt.outcome


def step_id(name: str) -> StepId:
    return step_hash(name)
