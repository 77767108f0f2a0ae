"""One group commit: the statements of a batch of requests, inside a transaction that the caller owns.

A plan without I/O: it yields each statement and is sent the rows that come back, so that sqlite3, asyncpg and tests that
stop between any two statements drive the same one.

The order is that of the locks: replica, environments, schedules, runs, jobs, events; then what is only inserted; last
what is pruned, for which it never waits. Rows that another batch might touch are sorted by their keys, so that two
batches wait for each other in one direction only. Expected conflicts come back as rows, never as errors. There is one
statement for each table and batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

import msgspec

from stepwell.engine.core.model import Attempt, Intake, Job, Outcome, Run, RunStatus
from stepwell.limits import EVENT_ID_WINDOW_MS
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, JobId, ReplicaId, RunId
from stepwell.store.interface import (
    Beat,
    BeatRequest,
    Claimed,
    ClaimRequest,
    CommitRequest,
    Fenced,
    IngestRequest,
    LeaveRequest,
    PruneRequest,
    ReapRequest,
    ReleaseRequest,
    Request,
    Result,
    SettingRequest,
    SyncRequest,
    TickRequest,
    Verdict,
)
from stepwell.store.prune import prune
from stepwell.store.query import Statement
from stepwell.store.rows import (
    Row,
    attempt_row,
    changed_run_row,
    event_row,
    job_row,
    new_run_row,
    read_job,
    step_row,
)

Plan: TypeAlias = Generator[Statement, Sequence[Row], None]
"""Yields statements; is sent their rows."""

_STALE: Final = Result(Verdict.STALE)
_LOST: Final = Result(Verdict.LOST)
_COMMITTED: Final = Result(Verdict.COMMITTED)
DUPLICATE_EVENT: Final = "duplicate_event_id"

_by_key = itemgetter(0)
_by_two_keys = itemgetter(0, 1)


class Batch:
    """The work of one transaction. After ``plan`` has run to its end, ``results`` are those of the requests, in order."""

    def __init__(self, replica_id: ReplicaId, requests: Sequence[Request]) -> None:
        self._replica_id = replica_id
        self._requests = requests
        self.results: list[Result] = [_COMMITTED] * len(requests)
        self._intakes: list[tuple[int, Intake]] = []
        self._revisions: dict[EnvironmentId, int] = {}

    def plan(self) -> Plan:
        """Yield every statement. Raises ``Fenced``; then, or when a statement fails, the caller rolls back."""
        # The revisions may be read with the fence: whoever sent an event did so before, and a sync that commits after
        # this statement comes after the event.
        fence = yield Statement("replica_fence", parameters={"id": self._replica_id})
        if not fence:
            raise Fenced("this server was declared dead by the others, and its work was taken over")
        self._revisions = {EnvironmentId(row[0]): row[1] for row in fence if row[0] is not None}
        yield from self._each(BeatRequest, self._beat)
        yield from self._each(ReapRequest, self._reap)
        yield from self._each(SyncRequest, self._sync)
        yield from self._each(SettingRequest, self._put_setting)
        yield from self._tick()
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
        yield from self._insert_jobs(jobs)
        yield from self._each(ClaimRequest, self._claim)
        yield from self._each(LeaveRequest, self._leave)
        yield from self._each(PruneRequest, self._prune)

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
        ended = [
            (job.run_id, job.id, job.owner, job.generation)
            for _, request in accepted
            if (job := request.transition.job) is not None
        ]
        gone: set[tuple[str, str]] = set()
        if ended:
            rows = yield Statement("job_end", sorted(ended))
            gone = {(row[0], row[1]) for row in rows}
        kept: list[tuple[int, CommitRequest]] = []
        for index, request in accepted:
            job = request.transition.job
            if job is None or (job.run_id, job.id) in gone:
                kept.append((index, request))
            else:
                self._lose(index, request, lost)
        if lost:
            yield Statement("attempt_insert", [attempt_row(attempt) for attempt in lost])
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
        final = [(transition.run.id,) for transition in transitions if transition.is_final]
        if final:
            yield Statement("job_drop", sorted(final))
        steps = [step_row(step) for transition in transitions for step in transition.steps]
        if steps:
            yield Statement("step_insert", steps)
        attempts = [attempt_row(transition.attempt) for transition in transitions if transition.attempt is not None]
        if attempts:
            yield Statement("attempt_insert", attempts)
        self._intakes += [(index, intake) for index, request in commits for intake in request.intakes]
        return [(index, job) for index, request in commits for job in request.transition.jobs]

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
                self.results[index] = self.results[index]._replace(ticked=self.results[index].ticked | {key})
                if tick.intake is not None:
                    self._intakes.append((index, tick.intake))

    def _take_in(self) -> Generator[Statement, Sequence[Row], list[tuple[int, Job]]]:
        """Insert events and their runs; returns the first jobs of the runs that start."""
        if not self._intakes:
            return []
        new = [event_row(intake.event) for _, intake in self._intakes if not intake.is_stored]
        inserted: set[str] = set()
        if new:
            rows = yield Statement("event_insert", sorted(new, key=_by_key))
            inserted = {row[0] for row in rows}
        stored = sorted({(intake.event.id,) for _, intake in self._intakes if intake.is_stored})
        kept: set[str] = set()
        if stored:
            rows = yield Statement("event_keep", stored)
            kept = {row[0] for row in rows}
        runs: list[Run] = []
        jobs: list[tuple[int, Job]] = []
        skipped = yield from self._skipped_runs(inserted)
        seen: set[EventId] = set()
        for index, intake in self._intakes:
            event = intake.event
            if event.id not in kept if intake.is_stored else event.id not in inserted or event.id in seen:
                result = self.results[index]
                self.results[index] = result._replace(duplicate=result.duplicate | {event.id})
                continue
            seen.add(event.id)
            if not intake.runs:
                continue
            for run, job in zip(intake.runs, intake.jobs, strict=True):
                if run.id in skipped:
                    result = self.results[index]
                    self.results[index] = result._replace(skipped=result.skipped | {run.id})
                    runs.append(
                        msgspec.structs.replace(
                            run, status=RunStatus.SKIPPED, ended_at=run.queued_at, reason=DUPLICATE_EVENT
                        )
                    )
                else:
                    runs.append(run)
                    jobs.append((index, job))
        if runs:
            yield Statement("run_insert", [new_run_row(run) for run in runs])
        return jobs

    def _skipped_runs(self, inserted: set[str]) -> Generator[Statement, Sequence[Row], set[RunId]]:
        """Take the windows of event ids; the runs of those that are taken are skipped (protocol 2.4)."""
        wanted: dict[tuple[str, str], tuple[RunId, int]] = {}
        skipped: set[RunId] = set()
        for _, intake in self._intakes:
            if not intake.event.has_own_id or not intake.runs or intake.is_stored or intake.event.id not in inserted:
                continue
            for run in intake.runs:
                key = (run.function_id, intake.event.event_id)
                if key in wanted:
                    skipped.add(run.id)
                else:
                    wanted[key] = (run.id, intake.event.received_at)
        if wanted:
            now = min(at for _, at in wanted.values())
            rows = sorted((*key, at + EVENT_ID_WINDOW_MS) for key, (_, at) in wanted.items())
            found = yield Statement("event_key_take", rows, {"now": now})
            taken = {(row[0], row[1]) for row in found}
            skipped |= {run_id for key, (run_id, _) in wanted.items() if key not in taken}
        return skipped

    def _insert_jobs(self, jobs: Sequence[tuple[int, Job]]) -> Plan:
        if not jobs:
            return
        rows = yield Statement("job_insert", [job_row(self._own(job)) for _, job in jobs])
        leased = {(row[0], row[1]) for row in rows if row[2] is not None}
        by_request: dict[int, set[tuple[RunId, JobId]]] = {}
        for index, job in jobs:
            if (job.run_id, job.id) in leased:
                by_request.setdefault(index, set()).add((job.run_id, job.id))
        for index, keys in by_request.items():
            self.results[index] = self.results[index]._replace(leased=frozenset(keys))

    def _own(self, job: Job) -> Job:
        """Lease to this replica alone: what was planned before a fence names an owner that is gone."""
        if job.owner is None or job.owner == self._replica_id:
            return job
        return msgspec.structs.replace(job, owner=None, leased_at=None)

    # -- the queue ----------------------------------------------------------------------------------------------

    def _claim(self, index: int, request: ClaimRequest) -> Plan:
        jobs: list[Job] = []
        for partition, limit in request.wants:
            if limit > 0:
                rows = yield Statement(
                    "job_claim",
                    parameters={
                        "owner": self._replica_id,
                        "now": request.now,
                        "partition": partition,
                        "limit": limit,
                    },
                )
                jobs += [read_job(row) for row in rows]
        next_due = yield Statement("job_next_due", [(partition,) for partition, _ in request.wants])
        versions: dict[str, int] = {}
        if jobs:
            jobs.sort(key=lambda job: job.due_at)
            found = yield Statement("run_versions", [(id,) for id in sorted({job.run_id for job in jobs})])
            versions = {row[0]: row[1] for row in found}
        self.results[index] = Result(
            Verdict.COMMITTED,
            claimed=[Claimed(job, versions[job.run_id]) for job in jobs],
            next_due=[(row[0], row[1]) for row in next_due],
        )

    def _release(self) -> Plan:
        rows = [
            (job.run_id, job.id, job.owner, job.generation, int(request.is_lost))
            for request in self._requests
            if isinstance(request, ReleaseRequest)
            for job in request.jobs
        ]
        if rows:
            yield Statement("job_give_back", sorted(rows, key=_by_two_keys))

    # -- replicas -----------------------------------------------------------------------------------------------

    def _beat(self, index: int, request: BeatRequest) -> Plan:
        [(now,)] = yield Statement("replica_beat", parameters={"id": self._replica_id})
        [(count, dead)] = yield Statement(
            "replica_survey", parameters={"id": self._replica_id, "silent_ms": request.silent_ms}
        )
        beat = Beat(now, count, dead or 0, self._revisions)
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

    def _prune(self, index: int, request: PruneRequest) -> Plan:
        pruned = yield from prune(request)
        self.results[index] = Result(Verdict.COMMITTED, pruned=pruned)

    # -- apps and settings --------------------------------------------------------------------------------------

    def _sync(self, index: int, request: SyncRequest) -> Plan:
        app = request.app
        bumped = yield Statement("environment_bump", parameters={"id": app.environment, "revision": request.revision})
        if not bumped:
            self.results[index] = _STALE
            return
        self._revisions[app.environment] = bumped[0][0]
        yield Statement(
            "app_upsert",
            parameters={
                "id": app.id,
                "environment": app.environment,
                "name": app.name,
                "transport": app.transport,
                "url": app.url,
                "sdk": app.sdk,
                "framework": app.framework,
                "version": app.version,
                "checksum": app.checksum,
                "now": app.synced_at,
            },
        )
        if request.is_removed:
            yield Statement("app_archive", parameters={"id": app.id, "now": request.now})
        for change in request.changes:
            function = change.function
            yield Statement(
                "function_upsert",
                parameters={
                    "id": function.id,
                    "environment": function.environment,
                    "app_id": function.app_id,
                    "slug": function.slug,
                    "name": change.name,
                    "version": function.version,
                },
            )
            if change.is_changed:
                yield Statement(
                    "function_version_insert",
                    parameters={
                        "function_id": function.id,
                        "version": function.version,
                        "config": change.config,
                        "now": request.now,
                    },
                )
            yield from self._set_schedules(function.id, dict(change.crons))
        for function_id in request.archived:
            yield Statement("function_archive", parameters={"id": function_id, "now": request.now})
            yield from self._set_schedules(function_id, {})

    def _set_schedules(self, function_id: FunctionId, crons: dict[str, int | None]) -> Plan:
        known = yield Statement("schedule_of_function", parameters={"function_id": function_id})
        for (cron,) in known:
            if cron not in crons:
                yield Statement("schedule_remove", parameters={"function_id": function_id, "cron": cron})
        for cron, next_at in crons.items():
            yield Statement("schedule_add", parameters={"function_id": function_id, "cron": cron, "next_at": next_at})

    def _put_setting(self, _index: int, request: SettingRequest) -> Plan:
        yield Statement("setting_put", parameters={"key": request.key, "value": request.value})
