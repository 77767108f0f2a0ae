"""One group commit on SQLite: the statements of a batch of requests, inside a transaction that the caller owns.

The order is that of the locks on PostgreSQL: replica, runs, jobs; then what is only inserted. Expected conflicts come
back as rows, never as errors. There is one statement for each table and batch, in chunks whose sizes are powers of two
so that few different texts are prepared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from stepwell.engine.core.model import Attempt, Intake, Job, Outcome, Run, RunStatus
from stepwell.limits import EVENT_ID_WINDOW_MS
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, JobId, ReplicaId, RunId
from stepwell.store.interface import (
    Claimed,
    ClaimRequest,
    CommitRequest,
    Fenced,
    IngestRequest,
    ReleaseRequest,
    Request,
    Result,
    SettingRequest,
    SyncRequest,
    TickRequest,
    Verdict,
)
from stepwell.store.query import load_queries
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

_ROWS_MAX: Final = 128  # a power of two; the widest table has 17 columns, SQLite takes 32,766 values
_STALE: Final = Result(Verdict.STALE)
_LOST: Final = Result(Verdict.LOST)
_COMMITTED: Final = Result(Verdict.COMMITTED)
DUPLICATE_EVENT: Final = "duplicate_event_id"


class Statements:
    """Runs named queries on one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._queries = load_queries()

    def one(self, name: str, /, **parameters: Any) -> list[Row]:
        """Run a query that takes no rows."""
        query = self._queries[name]
        return self._db.execute(query.text, [parameters[key] for key in query.parameters]).fetchall()

    def many(self, name: str, rows: Sequence[Row], /, **parameters: Any) -> list[Row]:
        """Run a query over rows and return what comes back, over all chunks."""
        query = self._queries[name]
        rest = [parameters[key] for key in query.parameters]
        found: list[Row] = []
        for chunk in _chunks(rows):
            values = [value for row in chunk for value in row]
            found += self._db.execute(_over(name, len(chunk)), values + rest).fetchall()
        return found


@cache
def _over(name: str, row_count: int) -> str:
    return load_queries()[name].over(row_count)


def _chunks(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    at = 0
    while at < len(rows):
        size = min(_ROWS_MAX, 1 << ((len(rows) - at).bit_length() - 1))
        yield rows[at : at + size]
        at += size


class Batch:
    """The work of one transaction. Results are in the order of the requests."""

    def __init__(self, statements: Statements, replica_id: ReplicaId, requests: Sequence[Request]) -> None:
        self._sql = statements
        self._replica_id = replica_id
        self._requests = requests
        self._results: list[Result] = [_COMMITTED] * len(requests)
        self._intakes: list[tuple[int, Intake]] = []

    def run(self) -> list[Result]:
        """Run every statement. Raises ``Fenced``, or what SQLite raises: then the caller rolls back."""
        fence = self._sql.one("replica_fence", id=self._replica_id)
        if not fence:
            raise Fenced("this server was declared dead and replaced; it must start again")
        self._revisions: dict[EnvironmentId, int] = dict(fence)
        handlers: dict[type, Callable[[int, Any], None]] = {
            SyncRequest: self._sync,
            SettingRequest: self._put_setting,
            ReleaseRequest: self._release,
        }
        for index, request in enumerate(self._requests):
            handler = handlers.get(type(request))
            if handler is not None:
                handler(index, request)
        commits = self._accepted_commits()
        self._tick()
        for index, request in enumerate(self._requests):
            if isinstance(request, IngestRequest):
                if self._revisions[request.environment] != request.revision:
                    self._results[index] = _STALE
                else:
                    self._intakes += [(index, intake) for intake in request.intakes]
        jobs = self._write_commits(commits)
        jobs += self._take_in()
        self._insert_jobs(jobs)
        for index, request in enumerate(self._requests):
            if isinstance(request, ClaimRequest):
                self._claim(index, request)
        return self._results

    # -- commits ------------------------------------------------------------------------------------------------

    def _accepted_commits(self) -> list[tuple[int, CommitRequest]]:
        """Compare versions, end jobs; what comes back may write. The attempt of a lost one is kept."""
        commits = [(i, request) for i, request in enumerate(self._requests) if isinstance(request, CommitRequest)]
        if not commits:
            return []
        ids = sorted({request.transition.run.id for _, request in commits})
        seen: dict[RunId, tuple[int, str]] = {
            row[0]: (row[1], row[2]) for row in self._sql.many("run_versions", [(id,) for id in ids])
        }
        accepted: list[tuple[int, CommitRequest]] = []
        lost: list[Attempt] = []
        taken: set[RunId] = set()
        for index, request in commits:
            run = request.transition.run
            version, status = seen[run.id]
            if not (RunStatus(status).is_final or run.id in taken) and version == run.version - 1:
                if request.revision is None or self._revisions[request.environment] == request.revision:
                    taken.add(run.id)
                    accepted.append((index, request))
                else:
                    self._results[index] = _STALE
            elif RunStatus(status).is_final:
                self._lose(index, request, lost)
            else:
                self._results[index] = _STALE
        ended = [
            (job.run_id, job.id, job.owner, job.generation)
            for _, request in accepted
            if (job := request.transition.job) is not None
        ]
        gone = {(row[0], row[1]) for row in self._sql.many("job_end", ended)}
        kept: list[tuple[int, CommitRequest]] = []
        for index, request in accepted:
            job = request.transition.job
            if job is None or (job.run_id, job.id) in gone:
                kept.append((index, request))
            else:
                self._lose(index, request, lost)
        if lost:
            self._sql.many("attempt_insert", [attempt_row(attempt) for attempt in lost])
        return kept

    def _lose(self, index: int, request: CommitRequest, lost: list[Attempt]) -> None:
        self._results[index] = _LOST
        attempt = request.transition.attempt
        if attempt is not None:
            lost.append(msgspec.structs.replace(attempt, outcome=Outcome.LOST, retry_at=None))

    def _write_commits(self, commits: Sequence[tuple[int, CommitRequest]]) -> list[tuple[int, Job]]:
        if not commits:
            return []
        transitions = [request.transition for _, request in commits]
        self._sql.many("run_update", [changed_run_row(transition.run) for transition in transitions])
        final = [(transition.run.id,) for transition in transitions if transition.is_final]
        if final:
            self._sql.many("job_drop", final)
        steps = [step_row(step) for transition in transitions for step in transition.steps]
        if steps:
            self._sql.many("step_insert", steps)
        attempts = [attempt_row(transition.attempt) for transition in transitions if transition.attempt is not None]
        if attempts:
            self._sql.many("attempt_insert", attempts)
        self._intakes += [(index, intake) for index, request in commits for intake in request.intakes]
        return [(index, job) for index, request in commits for job in request.transition.jobs]

    # -- intakes ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
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
                self._results[index] = _STALE
        ticks = [(index, tick) for index, tick in ticks if self._results[index] is not _STALE]
        rows = [(tick.function_id, tick.cron, tick.seen_at, tick.next_at) for _, tick in ticks]
        fired = {(FunctionId(row[0]), row[1]) for row in self._sql.many("schedule_tick", rows)}
        done: set[tuple[FunctionId, str]] = set()
        for index, tick in ticks:
            key = (tick.function_id, tick.cron)
            if key in fired and key not in done:
                done.add(key)
                self._results[index] = self._results[index]._replace(ticked=self._results[index].ticked | {key})
                if tick.intake is not None:
                    self._intakes.append((index, tick.intake))

    def _take_in(self) -> list[tuple[int, Job]]:
        """Insert events and their runs; returns the first jobs of the runs that start."""
        if not self._intakes:
            return []
        new = [event_row(intake.event) for _, intake in self._intakes if not intake.is_stored]
        inserted = {row[0] for row in self._sql.many("event_insert", new)}
        runs: list[Run] = []
        jobs: list[tuple[int, Job]] = []
        skipped = self._skipped_runs(inserted)
        seen: set[EventId] = set()
        for index, intake in self._intakes:
            event = intake.event
            if not intake.is_stored and (event.id not in inserted or event.id in seen):
                result = self._results[index]
                self._results[index] = result._replace(duplicate=result.duplicate | {event.id})
                continue
            seen.add(event.id)
            for run, job in zip(intake.runs, intake.jobs, strict=True):
                if run.id in skipped:
                    result = self._results[index]
                    self._results[index] = result._replace(skipped=result.skipped | {run.id})
                    runs.append(
                        msgspec.structs.replace(
                            run, status=RunStatus.SKIPPED, ended_at=run.queued_at, reason=DUPLICATE_EVENT
                        )
                    )
                else:
                    runs.append(run)
                    jobs.append((index, job))
        if runs:
            self._sql.many("run_insert", [new_run_row(run) for run in runs])
        return jobs

    def _skipped_runs(self, inserted: set[str]) -> set[RunId]:
        """Take the windows of event ids; the runs of those that are taken are skipped (protocol 2.4)."""
        wanted: dict[tuple[str, str], tuple[RunId, int]] = {}
        skipped: set[RunId] = set()
        for _, intake in self._intakes:
            if not intake.event.has_own_id or intake.is_stored or intake.event.id not in inserted:
                continue
            for run in intake.runs:
                key = (run.function_id, intake.event.event_id)
                if key in wanted:
                    skipped.add(run.id)
                else:
                    wanted[key] = (run.id, intake.event.received_at)
        if wanted:
            now = min(at for _, at in wanted.values())
            rows = [(*key, at + EVENT_ID_WINDOW_MS) for key, (_, at) in wanted.items()]
            taken = {(row[0], row[1]) for row in self._sql.many("event_key_take", rows, now=now)}
            skipped |= {run_id for key, (run_id, _) in wanted.items() if key not in taken}
        return skipped

    def _insert_jobs(self, jobs: Sequence[tuple[int, Job]]) -> None:
        if not jobs:
            return
        rows = self._sql.many("job_insert", [job_row(job) for _, job in jobs])
        leased = {(row[0], row[1]) for row in rows if row[2] is not None}
        by_request: dict[int, set[tuple[RunId, JobId]]] = {}
        for index, job in jobs:
            if (job.run_id, job.id) in leased:
                by_request.setdefault(index, set()).add((job.run_id, job.id))
        for index, keys in by_request.items():
            self._results[index] = self._results[index]._replace(leased=frozenset(keys))

    # -- the queue ----------------------------------------------------------------------------------------------

    def _claim(self, index: int, request: ClaimRequest) -> None:
        jobs: list[Job] = []
        next_due: list[tuple[str, int | None]] = []
        for partition, limit in request.wants:
            if limit > 0:
                rows = self._sql.one(
                    "job_claim", owner=self._replica_id, now=request.now, partition=partition, limit=limit
                )
                jobs += [read_job(row) for row in rows]
            next_due.append((partition, self._sql.one("job_next_due", partition=partition)[0][0]))
        jobs.sort(key=lambda job: job.due_at)
        ids = sorted({job.run_id for job in jobs})
        versions = {row[0]: row[1] for row in self._sql.many("run_versions", [(id,) for id in ids])}
        self._results[index] = Result(
            Verdict.COMMITTED, claimed=[Claimed(job, versions[job.run_id]) for job in jobs], next_due=next_due
        )

    def _release(self, _index: int, request: ReleaseRequest) -> None:
        self._sql.many("job_give_back", [(job.run_id, job.id, job.owner, job.generation) for job in request.jobs])

    # -- apps and settings --------------------------------------------------------------------------------------

    def _sync(self, index: int, request: SyncRequest) -> None:
        app = request.app
        if self._revisions[app.environment] != request.revision:
            self._results[index] = _STALE
            return
        sql = self._sql
        sql.one("environment_bump", id=app.environment)
        self._revisions[app.environment] += 1
        sql.one(
            "app_upsert",
            id=app.id,
            environment=app.environment,
            name=app.name,
            transport=app.transport,
            url=app.url,
            sdk=app.sdk,
            framework=app.framework,
            version=app.version,
            checksum=app.checksum,
            now=app.synced_at,
        )
        if request.is_removed:
            sql.one("app_archive", id=app.id, now=request.now)
        for change in request.changes:
            function = change.function
            sql.one(
                "function_upsert",
                id=function.id,
                environment=function.environment,
                app_id=function.app_id,
                slug=function.slug,
                name=change.name,
                version=function.version,
            )
            if change.is_changed:
                sql.one(
                    "function_version_insert",
                    function_id=function.id,
                    version=function.version,
                    config=change.config,
                    now=request.now,
                )
            self._set_schedules(function.id, dict(change.crons))
        for function_id in request.archived:
            sql.one("function_archive", id=function_id, now=request.now)
            self._set_schedules(function_id, {})

    def _set_schedules(self, function_id: FunctionId, crons: dict[str, int | None]) -> None:
        for (cron,) in self._sql.one("schedule_of_function", function_id=function_id):
            if cron not in crons:
                self._sql.one("schedule_remove", function_id=function_id, cron=cron)
        for cron, next_at in crons.items():
            self._sql.one("schedule_add", function_id=function_id, cron=cron, next_at=next_at)

    def _put_setting(self, _index: int, request: SettingRequest) -> None:
        self._sql.one("setting_put", key=request.key, value=request.value)
