"""The simulation catches what it is for: each of these broken engines breaks a promise within a few worlds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from stepwell.engine import executor
from stepwell.engine.core import run as run_machine
from stepwell.engine.core.state import RunState
from stepwell.engine.executor import Executor
from stepwell.engine.scheduler import Scheduler
from stepwell.store import group_commit, sqlite
from stepwell.store.batch import Batch
from stepwell.store.interface import CommitRequest, IngestRequest, Request, Result, Verdict
from stepwell.store.query import Statement, load_queries
from tests.simulation.world import Faults, PromiseBroken, SimulatedStore, World

FIRST, WORLDS_MAX = 50, 40

Break: TypeAlias = Callable[[pytest.MonkeyPatch], None]

CRASHES = Faults(crash_before_commit=0.02, crash_after_commit=0.02, crash_per_minute=2.0)
FORGETS = Faults(forgotten_run=0.3)
DOUBLES = Faults(doubled_commit=0.2)


def statement(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """Put another text in the place of a query."""
    queries = load_queries("sqlite")
    monkeypatch.setitem(queries, name, queries[name]._replace(text=text))
    monkeypatch.setattr(sqlite, "_text", sqlite._text.__wrapped__)


def no_version_check(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = Batch._accept_commits

    def accept_whatever(self: Batch) -> Any:
        requests: list[Request] = []
        for request in self._requests:
            if isinstance(request, CommitRequest):
                transition = request.transition
                [(_, version, _)] = yield Statement("run_versions", [(transition.run.id,)])
                run = msgspec.structs.replace(transition.run, version=version + 1)
                request = request._replace(transition=msgspec.structs.replace(transition, run=run))
            requests.append(request)
        self._requests = requests
        return (yield from accept(self))

    monkeypatch.setattr(Batch, "_accept_commits", accept_whatever)


NO_FENCE = """
select job.run_id, job.id from v join job on job.run_id = v.run_id and job.id = v.id
"""


def job_not_deleted_at_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(monkeypatch, "job_end", NO_FENCE)


def no_fence_and_no_version_check(monkeypatch: pytest.MonkeyPatch) -> None:
    no_version_check(monkeypatch)
    statement(monkeypatch, "job_end", "select v.run_id, v.id from v")


def timer_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    notice = Scheduler.notice

    def forget_later_ones(self: Scheduler, partition: str, due_at: int) -> None:
        if due_at <= self._clock.now():
            notice(self, partition, due_at)

    monkeypatch.setattr(Scheduler, "notice", forget_later_ones)


def handed_over_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over = group_commit._hand_over

    def twice(done: Callable[[Result], None], result: Result) -> None:
        hand_over(done, result)
        hand_over(done, result)

    monkeypatch.setattr(group_commit, "_hand_over", twice)


def slots_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executor, "_release", lambda self, job: None)


def leases_of_the_dead_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(monkeypatch, "job_release_orphans", "select 1 where 1 = 0")


def lost_attempts_use_up_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(
        monkeypatch,
        "job_release_orphans",
        "update job set owner = null, leased_at = null, generation = generation + 1,"
        " attempt = min(attempt + 1, max_attempts - 1) where owner is not null and owner not in (select id from replica)",
    )


def generation_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(
        monkeypatch,
        "job_release_orphans",
        "update job set owner = null, leased_at = null, generation = generation - 1"
        " where owner is not null and owner not in (select id from replica)",
    )


def acknowledged_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = SimulatedStore.submit

    def submit_and_say_yes(self: SimulatedStore, request: Request) -> asyncio.Future[Result]:
        future = submit(self, request)
        if isinstance(request, IngestRequest):
            future = asyncio.get_running_loop().create_future()
            future.set_result(Result(Verdict.COMMITTED))
        return future

    monkeypatch.setattr(SimulatedStore, "submit", submit_and_say_yes)


def sent_again_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(
        monkeypatch,
        "event_insert",
        "insert into event (id, environment, name, event_id, ts, received_at, is_internal, body, original)"
        " select v.id, v.environment, v.name, v.event_id, v.ts, v.received_at, v.is_internal, v.body, v.original"
        " from v where true on conflict (id) do update set ts = excluded.ts returning id",
    )


def event_ids_without_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    def skip_none(_batch: Batch, _inserted: set[str]) -> Any:
        yield from ()
        return set()

    monkeypatch.setattr(Batch, "_skipped_runs", skip_none)


def unseen_completions_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = run_machine.advance
    monkeypatch.setattr(
        executor,
        "advance",
        lambda state, job, answered, *rest: advance(state, job, answered._replace(stack_seen=1_000_000), *rest),
    )


def plan_not_forced_while_steps_are_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunState, "must_plan", property(lambda self: self.run.is_plan_forced))


def groups_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_machine, "_wants_discovery", lambda state, job: not job.is_joined)


@pytest.mark.parametrize(
    ("variant", "faults"),
    [
        (no_version_check, FORGETS),
        (job_not_deleted_at_commit, CRASHES),
        (no_fence_and_no_version_check, DOUBLES),
        (timer_dropped, Faults()),
        (handed_over_twice, Faults()),
        (slots_not_given_back, Faults()),
        (leases_of_the_dead_kept, CRASHES),
        (lost_attempts_use_up_retries, CRASHES),
        (generation_not_raised, CRASHES),
        (acknowledged_too_early, CRASHES),
        (sent_again_starts_again, CRASHES),
        (event_ids_without_a_window, Faults()),
        (unseen_completions_forgotten, Faults(slow=0.8)),
        (plan_not_forced_while_steps_are_pending, Faults()),
        (groups_that_never_end, Faults()),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_engine_is_caught(
    variant: Break, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant(monkeypatch)

    for seed in range(FIRST, FIRST + WORLDS_MAX):
        world = World(seed, tmp_path, faults=replace(faults))
        try:
            world.play()
        except PromiseBroken:
            return
    pytest.fail(f"{WORLDS_MAX} worlds didn't notice")
