"""One group commit: the statements of a batch of requests, inside a transaction that the caller owns.

A plan without I/O: it yields each statement and is sent the rows that come back, so that sqlite3, asyncpg and tests that
stop between any two statements drive the same one.

The order is that of the locks: replica, names and keys, environments, schedules, runs, jobs, waits, events; then what is
only inserted; then lines and spans of runs, and samples; last what is pruned, for which it never waits. Rows that another batch might touch are sorted by their keys, so that two
batches wait for each other in one direction only. Expected conflicts come back as rows, never as errors. There is one
statement for each table and batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

import msgspec

from stepwell.engine.core.invoke import parent_of, skipped_resolution
from stepwell.engine.core.model import (
    Attempt,
    Event,
    Intake,
    Job,
    JobKind,
    Outcome,
    Resolution,
    Run,
    RunStatus,
    Start,
    Transition,
    Wait,
)
from stepwell.engine.core.partition import value_hash
from stepwell.limits import EVENT_ID_WINDOW_MS
from stepwell.protocol.event import FINISHED
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, JobId, ReplicaId, RunId
from stepwell.store.access import decide
from stepwell.store.admission import Admitted, Asked, admit
from stepwell.store.claim import claim
from stepwell.store.found import Sample
from stepwell.store.interface import Fenced
from stepwell.store.locks import locks_of
from stepwell.store.log import write_log
from stepwell.store.prune import prune
from stepwell.store.query import Statement
from stepwell.store.register import pause, sync
from stepwell.store.repair import repair
from stepwell.store.request import (
    AccessRequest,
    Beat,
    BeatRequest,
    ClaimRequest,
    CommitRequest,
    DropRequest,
    Fire,
    FireRequest,
    IngestRequest,
    LeaveRequest,
    LogRequest,
    PauseRequest,
    PruneRequest,
    ReapRequest,
    ReleaseRequest,
    RepairRequest,
    Request,
    Result,
    SampleRequest,
    SettingRequest,
    SignalRequest,
    SweepRequest,
    SyncRequest,
    TickRequest,
    Verdict,
    WakeRequest,
)
from stepwell.store.rows import (
    Row,
    attempt_row,
    changed_run_row,
    event_row,
    job_row,
    new_run_row,
    step_row,
)
from stepwell.store.waiting import (
    Found,
    find_parents,
    match_events,
    open_waits,
    resolve,
    signal_conflicts,
    signal_memo,
    sweep,
    take_rules,
)

Plan: TypeAlias = Generator[Statement, Sequence[Row], None]
"""Yields statements; is sent their rows."""

_STALE: Final = Result(Verdict.STALE)
_LOST: Final = Result(Verdict.LOST)
_COMMITTED: Final = Result(Verdict.COMMITTED)
_REFUSED: Final = Result(Verdict.REFUSED)
_CONFLICT: Final = Result(Verdict.CONFLICT)

_by_key = itemgetter(0)
_by_two_keys = itemgetter(0, 1)


class _Made:
    """What a request has made so far. Of one with thousands of events, each adds a little."""

    __slots__ = (
        "due",
        "duplicate",
        "fired",
        "gathered",
        "is_swept",
        "leased",
        "resumed",
        "signalled",
        "skipped",
        "ticked",
    )

    def __init__(self) -> None:
        self.leased: set[tuple[RunId, JobId]] = set()
        self.skipped: dict[RunId, str] = {}
        self.gathered: dict[RunId, RunId] = {}
        self.due: list[int] = []
        """When the gatherings are due."""
        self.duplicate: set[EventId] = set()
        self.resumed: list[RunId] = []
        self.ticked: set[tuple[FunctionId, str]] = set()
        self.fired: set[RunId] = set()
        self.is_swept = False
        self.signalled: RunId | None = None

    def told_by(self, result: Result) -> Result:
        """Return a request's result with all of it."""
        return result._replace(
            leased=frozenset(self.leased),
            skipped=self.skipped,
            gathered=self.gathered,
            gathering_due=min(self.due, default=None),
            duplicate=frozenset(self.duplicate),
            resumed=tuple(self.resumed),
            ticked=frozenset(self.ticked),
            fired=frozenset(self.fired),
            is_swept=self.is_swept,
            signalled=self.signalled,
        )


class Batch:
    """The work of one transaction. After ``plan`` has run to its end, ``results`` are those of the requests, in order.

    A database with one writer ``is_alone`` with it, and needs no locks of names and keys.
    """

    def __init__(self, replica_id: ReplicaId, requests: Sequence[Request], *, is_alone: bool = False) -> None:
        self._replica_id = replica_id
        self._is_alone = is_alone
        self._requests = requests
        self.results: list[Result] = [_COMMITTED] * len(requests)
        self._made: defaultdict[int, _Made] = defaultdict(_Made)
        self._intakes: list[tuple[int, Intake]] = []
        self._fired: list[tuple[int, Fire]] = []
        self._revisions: dict[EnvironmentId, int] = {}
        self._awaited: list[tuple[int, Event]] = []
        """Events that a run may wait for."""
        self._came: list[tuple[int, Event]] = []
        """All events that are new, in their order."""
        self._opened: dict[RunId, EventId] = {}
        """Runs that start with rules to be cancelled by, each with its event: what came before that isn't for them."""
        self._found: list[tuple[int, Found]] = []
        """The ends of waits."""
        self._cancels: dict[tuple[RunId, JobId], tuple[int, int]] = {}
        """The rules by which runs are cancelled, each with its request and the time of its event."""
        self._ended: list[tuple[int, Resolution]] = []
        """The ends of runs that others wait for."""

    def plan(self) -> Plan:
        """Yield every statement. Raises ``Fenced``; then, or when a statement fails, the caller rolls back."""
        # The revisions may be read with the fence: whoever sent an event did so before, and a sync that commits after
        # this statement comes after the event.
        locks, shared = locks_of(self._requests) if not self._is_alone else ((), ())
        fence = yield Statement("replica_fence", parameters={"id": self._replica_id, "locks": locks, "shared": shared})
        if not fence:
            raise Fenced("this server was declared dead by the others, and its work was taken over")
        self._revisions = {EnvironmentId(row[0]): row[1] for row in fence if row[0] is not None}
        yield from self._each(BeatRequest, self._beat)
        yield from self._each(ReapRequest, self._reap)
        yield from self._each(SyncRequest, self._register)
        yield from self._each(PauseRequest, self._register)
        yield from self._each(SettingRequest, self._put_setting)
        for index, request in enumerate(self._requests):
            if isinstance(request, AccessRequest):
                self.results[index] = Result((yield from decide(request)))
        yield from self._tick()
        yield from self._fire()
        commits = yield from self._accept_commits()
        for index, request in enumerate(self._requests):
            if isinstance(request, IngestRequest):
                if self._revisions[request.environment] != request.revision:
                    self.results[index] = _STALE
                else:
                    self._intakes += [(index, intake) for intake in request.intakes]
        jobs = yield from self._write_commits(commits)
        jobs += yield from self._take_in()
        yield from self._release()
        yield from self._match()
        yield from self._sweep()
        yield from self._insert_jobs(jobs)
        yield from self._each(SignalRequest, self._signal)
        yield from self._resolve()
        yield from self._cancel()
        yield from self._each(WakeRequest, self._wake)
        yield from self._each(DropRequest, self._drop)
        yield from self._each(ClaimRequest, self._claim)
        yield from self._each(LeaveRequest, self._leave)
        yield from self._each(RepairRequest, self._repair)
        yield from self._each(LogRequest, self._log)
        yield from self._sample()
        yield from self._each(PruneRequest, self._prune)
        for index, made in self._made.items():
            self.results[index] = made.told_by(self.results[index])

    def _each(self, kind: type, plan: Callable[[int, Any], Plan]) -> Plan:
        for index, request in enumerate(self._requests):
            if type(request) is kind:
                yield from plan(index, request)

    # -- commits ------------------------------------------------------------------------------------------------

    def _accept_commits(self) -> Generator[Statement, Sequence[Row], list[tuple[int, CommitRequest]]]:
        """Lock the runs, compare versions, end jobs; what comes back may write. The attempt of a lost one is kept."""
        commits = [(i, request) for i, request in enumerate(self._requests) if isinstance(request, CommitRequest)]
        if not commits:
            return []
        ids = sorted({request.transition.run.id for _, request in commits})
        found = yield Statement("run_lock", [(id,) for id in ids])
        seen: dict[RunId, tuple[int, str]] = {row[0]: (row[1], row[2]) for row in found}
        accepted: list[tuple[int, CommitRequest]] = []
        lost: list[Attempt] = []
        taken: set[RunId] = set()
        for index, request in commits:
            run = request.transition.run
            # A run that isn't there has ended, and was pruned since.
            version, status = seen.get(run.id, (-1, RunStatus.COMPLETED))
            if RunStatus(status).is_final:
                self._lose(index, request, lost if run.id in seen else [])
            elif (
                run.id in taken
                or version != run.version - 1
                or (request.revision is not None and self._revisions[request.environment] != request.revision)
            ):
                self.results[index] = _STALE
            else:
                taken.add(run.id)
                accepted.append((index, request))
        accepted = yield from self._refuse_conflicts(accepted)
        accepted = yield from self._let_sweeps_go_first(accepted)
        ended = [
            (job.run_id, job.id, job.owner, job.generation)
            for _, request in accepted
            if (job := request.transition.job) is not None and job.owner is not None
        ]
        gone: set[tuple[str, str]] = set()
        if ended:
            rows = yield Statement("job_end", sorted(ended))
            gone = {(row[0], row[1]) for row in rows}
        watches = [
            (job.run_id, job.id, job.generation)
            for _, request in accepted
            if (job := request.transition.job) is not None and job.owner is None
        ]
        if watches:
            rows = yield Statement("job_close", sorted(watches))
            gone |= {(row[0], row[1]) for row in rows}
        going_on = [
            (job.run_id, job.id, job.generation)
            for _, request in accepted
            if (job := request.transition.kept) is not None
        ]
        if going_on:
            rows = yield Statement("job_keep", sorted(going_on))
            gone |= {(row[0], row[1]) for row in rows}
        kept: list[tuple[int, CommitRequest]] = []
        for index, request in accepted:
            job = request.transition.job or request.transition.kept
            if job is None or (job.run_id, job.id) in gone:
                kept.append((index, request))
            else:
                self._lose(index, request, lost)
        if lost:
            yield Statement("attempt_insert", [attempt_row(attempt) for attempt in lost])
        return kept

    def _refuse_conflicts(
        self, commits: list[tuple[int, CommitRequest]]
    ) -> Generator[Statement, Sequence[Row], list[tuple[int, CommitRequest]]]:
        """Refuse waits for signals that other runs wait for."""
        waits = [wait for _, request in commits for wait in request.transition.waits]
        if not waits:
            return commits
        conflicts = yield from signal_conflicts(waits, max(request.transition.at for _, request in commits))
        kept: list[tuple[int, CommitRequest]] = []
        for index, request in commits:
            if any((wait.run_id, wait.job_id) in conflicts for wait in request.transition.waits):
                self.results[index] = _CONFLICT
            else:
                kept.append((index, request))
        return kept

    def _let_sweeps_go_first(
        self, commits: list[tuple[int, CommitRequest]]
    ) -> Generator[Statement, Sequence[Row], list[tuple[int, CommitRequest]]]:
        """Refuse time-outs of waits that an event may end which came in time, and whose sweep isn't there yet."""
        timing_out = [
            (job.run_id, job.id)
            for _, request in commits
            if (job := request.transition.job) is not None and job.kind is JobKind.WAIT and job.memo is None
        ]
        if not timing_out:
            return commits
        early = {(row[0], row[1]) for row in (yield Statement("wait_swept", sorted(timing_out)))}
        kept: list[tuple[int, CommitRequest]] = []
        for index, request in commits:
            job = request.transition.job
            if job is not None and (job.run_id, job.id) in early:
                self.results[index] = _STALE
            else:
                kept.append((index, request))
        return kept

    def _lose(self, index: int, request: CommitRequest, lost: list[Attempt]) -> None:
        self.results[index] = _LOST
        attempt = request.transition.attempt
        if attempt is not None:
            lost.append(msgspec.structs.replace(attempt, outcome=Outcome.LOST, retry_at=None))

    def _write_commits(
        self, commits: Sequence[tuple[int, CommitRequest]]
    ) -> Generator[Statement, Sequence[Row], list[tuple[int, Job]]]:
        if not commits:
            return []
        transitions = [request.transition for _, request in commits]
        yield Statement("run_update", [changed_run_row(transition.run) for transition in transitions])
        yield from self._give_back(transitions)
        steps = [step_row(step) for transition in transitions for step in transition.steps]
        if steps:
            yield Statement("step_insert", steps)
        attempts = [attempt_row(transition.attempt) for transition in transitions if transition.attempt is not None]
        attempts += [attempt_row(attempt) for transition in transitions for attempt in transition.attempts]
        if attempts:
            yield Statement("attempt_insert", attempts)
        closed = [(job.run_id, job.id, job.generation) for transition in transitions for job in transition.closed]
        if closed:
            rows = yield Statement("job_close", sorted(closed))
            if rows:
                yield Statement("wait_take", sorted((row[0], row[1]) for row in rows))
        waits = [wait for transition in transitions for wait in transition.waits]
        if waits:
            # The ends of runs are stored only where somebody asks for them: those that end now must know.
            for environment in sorted({wait.environment for wait in waits if wait.name == FINISHED}):
                [(revision,)] = yield Statement("environment_touch", parameters={"id": environment})
                self._revisions[environment] = revision
            found = yield from open_waits(waits)
            indexes = {request.transition.run.id: index for index, request in commits}
            self._found += [(indexes[one.run_id], one) for one in found]
        self._ended += [
            (index, resolution) for index, request in commits for resolution in request.transition.resolutions
        ]
        self._intakes += [(index, intake) for index, request in commits for intake in request.intakes]
        return [(index, job) for index, request in commits for job in request.transition.jobs]

    def _give_back(self, transitions: Sequence[Transition]) -> Plan:
        """Remove what ended runs leave: jobs, waits, slots; and of ended jobs the waits and slots that they had."""
        final = [transition for transition in transitions if transition.is_final]
        if final:
            yield Statement("job_drop", sorted((transition.run.id,) for transition in final))
        ended = [transition.job for transition in transitions if transition.job is not None]
        timed_out = [(job.run_id, job.id) for job in ended if job.kind is JobKind.WAIT and job.memo is None]
        if timed_out:
            yield Statement("wait_take", sorted(timed_out))
        waiting = [(transition.run.id,) for transition in final if transition.has_waits]
        if waiting:
            yield Statement("wait_drop", sorted(waiting))
        slots = [(job.run_id, job.id) for job in ended if _has_limits(job.partition)]
        if slots:
            yield Statement("slot_free", sorted(slots))
        holding = [(transition.run.id,) for transition in final if _has_limits(transition.run.partition)]
        if holding:
            yield Statement("slot_drop", sorted(holding))

    # -- intakes ------------------------------------------------------------------------------------------------

    def _tick(self) -> Plan:
        ticks = [
            (index, tick)
            for index, request in enumerate(self._requests)
            if isinstance(request, TickRequest)
            for tick in request.ticks
        ]
        if not ticks:
            return
        for index, request in enumerate(self._requests):
            if isinstance(request, TickRequest) and self._revisions[request.environment] != request.revision:
                self.results[index] = _STALE
        ticks = [(index, tick) for index, tick in ticks if self.results[index] is not _STALE]
        if not ticks:
            return
        rows = [(tick.function_id, tick.cron, tick.seen_at, tick.next_at) for _, tick in ticks]
        found = yield Statement("schedule_tick", sorted(rows, key=_by_two_keys))
        fired = {(FunctionId(row[0]), row[1]) for row in found}
        done: set[tuple[FunctionId, str]] = set()
        for index, tick in ticks:
            key = (tick.function_id, tick.cron)
            if key in fired and key not in done:
                done.add(key)
                self._made[index].ticked.add(key)
                if tick.intake is not None:
                    self._intakes.append((index, tick.intake))

    def _take_in(self) -> Generator[Statement, Sequence[Row], list[tuple[int, Job]]]:
        """Insert events and their runs; returns the first jobs of the runs that start."""
        asked = [(index, Asked(fire.event, fire.start, self._at(index), is_again=True)) for index, fire in self._fired]
        if not self._intakes:
            return (yield from self._start(asked))
        new = [event_row(intake.event) for _, intake in self._intakes if not intake.is_stored]
        inserted: dict[str, bool] = {}
        if new:
            rows = yield Statement("event_insert", sorted(new, key=_by_key))
            inserted = {row[0]: bool(row[1]) for row in rows}
        stored = sorted({(intake.event.id,) for _, intake in self._intakes if intake.is_stored})
        kept: set[str] = set()
        if stored:
            rows = yield Statement("event_keep", stored)
            kept = {row[0] for row in rows}
        seen: set[EventId] = set()
        awaited: set[EventId] = set()
        for index, intake in self._intakes:
            event = intake.event
            if event.id not in kept if intake.is_stored else event.id not in inserted or event.id in seen:
                self._made[index].duplicate.add(event.id)
                continue
            seen.add(event.id)
            if not intake.is_stored:
                self._came.append((index, event))
            if inserted.get(event.id):
                awaited.add(event.id)
            asked += [(index, Asked(event, start, self._at(index), intake.is_stored)) for start in intake.starts]
        jobs = yield from self._start(asked)
        names = {wait.name for _, one in asked if one.start.run.id in self._opened for wait in one.start.waits}
        self._awaited = [(index, event) for index, event in self._came if event.id in awaited or event.name in names]
        return jobs

    def _start(self, asked: list[tuple[int, Asked]]) -> Generator[Statement, Sequence[Row], list[tuple[int, Job]]]:
        """Insert runs, those that may not start as skipped; returns the first jobs of the others."""
        jobs: list[tuple[int, Job]] = []
        if not asked:
            return jobs
        admitted = Admitted()
        if any(one.event.has_own_id or one.start.admission is not None for _, one in asked):
            admitted = yield from admit([one for _, one in asked])
        runs: list[Run] = []
        waits: list[Wait] = []
        for index, one in asked:
            start = one.start
            run = start.run
            reason = admitted.skipped.get(run.id)
            if reason is not None:
                runs.append(
                    msgspec.structs.replace(run, status=RunStatus.SKIPPED, ended_at=run.queued_at, reason=reason)
                )
                self._made[index].skipped[run.id] = reason
                if run.parent_run_id is not None and run.parent_step_id is not None:
                    self._ended.append((index, skipped_resolution(run.parent_run_id, run.parent_step_id, reason)))
            elif run.id in admitted.gathered:
                gathering = admitted.gatherings[admitted.gathered[run.id]]
                self._made[index].gathered[run.id] = gathering.run_id
                self._made[index].due.append(gathering.due_at)
            else:
                runs.append(run)
                if start.waits:
                    waits += start.waits
                    self._opened[run.id] = run.event_id
                jobs.append((index, start.job))
                jobs += [(index, guard) for guard in start.guards]
        if runs:
            yield Statement("run_insert", [new_run_row(run) for run in runs])
            again = [(run.id, run.original_run_id) for run in runs if run.is_batch and run.original_run_id is not None]
            if again:
                yield Statement("gathered_copy", again)
        if waits:
            yield from open_waits(waits)
        if admitted.cancels:
            jobs += [(asked[0][0], job) for job in admitted.cancels.values()]
            self._resume(asked[0][0], admitted.cancels)
        return jobs

    def _at(self, index: int) -> int:
        """Return the time of a request."""
        at = _now_of(self._requests[index])
        assert at is not None, "whatever starts runs has a time"
        return at

    def _fire(self) -> Plan:
        fires = [
            (index, fire)
            for index, request in enumerate(self._requests)
            if isinstance(request, FireRequest)
            for fire in request.fires
        ]
        for index, request in enumerate(self._requests):
            if isinstance(request, FireRequest) and self._revisions[request.environment] != request.revision:
                self.results[index] = _STALE
        fires = [(index, fire) for index, fire in fires if self.results[index] is not _STALE]
        if not fires:
            return
        rows = yield Statement("gathering_take", sorted((fire.start.run.id, fire.version) for _, fire in fires))
        fired = {row[0] for row in rows}
        for index, fire in fires:
            run = fire.start.run
            if run.id in fired:
                fired.discard(run.id)
                self._fired.append((index, fire))
                self._made[index].fired.add(run.id)
        yield from self._pass_over()

    def _pass_over(self) -> Plan:
        """Let the steps go on whose events start nothing: those before a debounce's last, or of a batch that is skipped."""
        reasons = {
            fire.start.run.id: (index, fire, _skip_reason(fire.start) if fire.start.run.is_batch else "debounced")
            for index, fire in self._fired
        }
        asked = sorted((run_id,) for run_id, (_, _, reason) in reasons.items() if reason is not None)
        if not asked:
            return
        for run_id, event_id, body in (yield Statement("gathered_invoked", asked)):
            index, fire, reason = reasons[run_id]
            parent = parent_of(body)
            if event_id != fire.event.id and parent is not None and reason is not None:
                self._ended.append((index, skipped_resolution(*parent, reason)))

    # -- waits --------------------------------------------------------------------------------------------------

    def _match(self) -> Plan:
        """Find the waits that events end, and the runs that they cancel."""
        if not self._awaited:
            return
        indexes = {event.id: index for index, event in self._awaited}
        places = {event.id: place for place, (_, event) in enumerate(self._came)}
        opened = {run_id: places[event_id] for run_id, event_id in self._opened.items() if event_id in places}
        matched = yield from match_events([(places[event.id], event) for _, event in self._awaited], opened)
        self._found += [(indexes[one.resolved_by], one) for one in matched.found if one.resolved_by is not None]
        first = self._awaited[0][0]
        if matched.is_swept:
            self._made[first].is_swept = True
        self._cancels.update({key: (first, at) for key, at in matched.cancels.items()})

    def _sweep(self) -> Plan:
        """Go on with a sweep."""
        for index, request in enumerate(self._requests):
            if isinstance(request, SweepRequest):
                matched = yield from sweep()
                if matched is None:
                    continue
                self._found += [(index, one) for one in matched.found]
                self._cancels.update({key: (index, at) for key, at in matched.cancels.items()})
                self._made[index].is_swept = True

    def _cancel(self) -> Plan:
        """Insert the jobs that cancel runs.

        After the jobs of waits have ended: a run's own end takes its jobs before its waits and rules, too.
        """
        if not self._cancels:
            return
        jobs = yield from take_rules({key: at for key, (_, at) in self._cancels.items()})
        placed = [(self._cancels[job.run_id, job.id][0], job) for job in jobs]
        yield from self._insert_jobs(placed)
        for index, job in placed:
            self._resume(index, [job.run_id])

    def _signal(self, index: int, request: SignalRequest) -> Plan:
        if request.key is not None:
            key = value_hash(f"{request.name}/{request.key}")
            window = (f"signal/{request.environment}", key, request.now + EVENT_ID_WINDOW_MS)
            if not (yield Statement("event_key_take", [window], {"now": request.now})):
                return  # it was sent before
        rows = yield Statement("wait_signal", [(request.environment, request.name)])
        waiting = [
            Found(RunId(row[2]), JobId(row[3]), signal_memo(request.name, request.data), None)
            for row in rows
            if row[4] > request.now
        ]
        # A wait that was there may have ended meanwhile, by its time-out or with its run: then nobody waits.
        if (yield from resolve(waiting, request.now)):
            self._resume(index, [waiting[0].run_id])
            self._made[index].signalled = waiting[0].run_id
        elif request.keep:
            yield Statement(
                "signal_keep",
                parameters={
                    "environment": request.environment,
                    "name": request.name,
                    "id": request.id,
                    "data": request.data,
                    "now": request.now,
                },
            )

    def _resolve(self) -> Plan:
        """Let runs go on whose waits have ended."""
        if self._ended:
            indexes = {one.run_id: index for index, one in self._ended}
            found = yield from find_parents([resolution for _, resolution in self._ended])
            self._found += [(indexes[one.run_id], one) for one in found]
        if not self._found:
            return
        now = max(at for index, _ in self._found if (at := _now_of(self._requests[index])) is not None)
        resolved = yield from resolve([one for _, one in self._found], now)
        for index, one in self._found:
            if (one.run_id, one.job_id) in resolved:
                self._resume(index, [one.run_id])

    def _resume(self, index: int, run_ids: Iterable[RunId]) -> None:
        self._made[index].resumed += run_ids

    def _wake(self, index: int, request: WakeRequest) -> Plan:
        parameters = {"run_id": request.run_id, "id": request.job_id, "now": request.now}
        if not (yield Statement("job_wake", parameters=parameters)):
            self.results[index] = _REFUSED

    def _drop(self, _index: int, request: DropRequest) -> Plan:
        ids = sorted((id,) for id in request.runs)
        yield Statement("job_drop", ids)
        yield Statement("wait_drop", ids)
        yield Statement("slot_drop", ids)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def _insert_jobs(self, jobs: Sequence[tuple[int, Job]]) -> Plan:
        if not jobs:
            return
        rows = yield Statement("job_insert", [job_row(self._own(job)) for _, job in jobs])
        leased = {(row[0], row[1]) for row in rows if row[2] is not None}
        for index, job in jobs:
            if (job.run_id, job.id) in leased:
                self._made[index].leased.add((job.run_id, job.id))

    def _own(self, job: Job) -> Job:
        """Lease to this replica alone: what was planned before a fence names an owner that is gone."""
        if job.owner is None or job.owner == self._replica_id:
            return job
        return msgspec.structs.replace(job, owner=None, leased_at=None)

    # -- the queue ----------------------------------------------------------------------------------------------

    def _claim(self, index: int, request: ClaimRequest) -> Plan:
        self.results[index] = yield from claim(request, self._replica_id)

    def _release(self) -> Plan:
        rows = [
            (job.run_id, job.id, job.owner, job.generation, int(request.is_lost))
            for request in self._requests
            if isinstance(request, ReleaseRequest)
            for job in request.jobs
        ]
        if not rows:
            return
        # What isn't ours any more keeps its slot: that is of the next lease.
        given_back = yield Statement("job_give_back", sorted(rows, key=_by_two_keys))
        slots = [(run_id, job_id) for run_id, job_id, partition in given_back if _has_limits(partition)]
        if slots:
            yield Statement("slot_free", sorted(slots))

    # -- replicas -----------------------------------------------------------------------------------------------

    def _beat(self, index: int, request: BeatRequest) -> Plan:
        [(now,)] = yield Statement("replica_beat", parameters={"id": self._replica_id, "work": request.work})
        [(count, dead, elder, work)] = yield Statement(
            "replica_survey", parameters={"id": self._replica_id, "silent_ms": request.silent_ms}
        )
        beat = Beat(now, count, dead or 0, elder or 0, work or 0, self._revisions)
        self.results[index] = Result(Verdict.COMMITTED, beat=beat)

    def _reap(self, _index: int, request: ReapRequest) -> Plan:
        """Remove dead replicas, then, in later statements, release what has no living owner.

        Removing waits for the transactions that a dead one has under way, so that these statements see what they wrote.
        """
        yield Statement("replica_reap", parameters={"id": self._replica_id, "silent_ms": request.silent_ms})
        yield from self._release_orphans(request.now)

    def _leave(self, _index: int, request: LeaveRequest) -> Plan:
        yield Statement("replica_remove", parameters={"id": self._replica_id})
        yield from self._release_orphans(request.now)

    def _release_orphans(self, now: int) -> Plan:
        yield Statement("job_lost_attempts", parameters={"now": now})
        yield Statement("job_release_orphans")
        yield Statement("slot_sweep")

    def _repair(self, index: int, request: RepairRequest) -> Plan:
        mended = yield from repair(request)
        self.results[index] = Result(Verdict.COMMITTED, mended=mended)

    def _log(self, index: int, request: LogRequest) -> Plan:
        logged = yield from write_log(request)
        self.results[index] = Result(Verdict.COMMITTED, logged=logged)

    def _sample(self) -> Plan:
        merged: dict[tuple[str, int], Sample] = {}
        for request in self._requests:
            if isinstance(request, SampleRequest):
                for sample in request.samples:
                    key = sample[:2]
                    merged[key] = sample.joined(merged[key]) if key in merged else sample
        if merged:
            yield Statement("sample_put", [merged[key] for key in sorted(merged)])

    def _prune(self, index: int, request: PruneRequest) -> Plan:
        pruned = yield from prune(request)
        self.results[index] = Result(Verdict.COMMITTED, pruned=pruned)

    # -- apps and settings --------------------------------------------------------------------------------------

    def _register(self, index: int, request: SyncRequest | PauseRequest) -> Plan:
        environment = request.app.environment if isinstance(request, SyncRequest) else request.environment
        plan = sync(request) if isinstance(request, SyncRequest) else pause(request)
        revision = yield from plan
        if revision is None:
            self.results[index] = _STALE
        else:
            self._revisions[environment] = revision

    def _put_setting(self, _index: int, request: SettingRequest) -> Plan:
        name = "setting_keep" if request.is_kept else "setting_put"
        yield Statement(name, parameters={"key": request.key, "value": request.value})


def _has_limits(partition: str) -> bool:
    """Tell whether something may be counted for the jobs of a partition."""
    return "|" in partition


def _skip_reason(start: Start) -> str | None:
    return start.admission.skip_reason if start.admission is not None else None


def _now_of(request: Request) -> int | None:
    match request:
        case CommitRequest():
            return request.transition.at
        case IngestRequest() | TickRequest() | FireRequest() | SignalRequest() | SweepRequest():
            return request.now
        case _:
            return None
