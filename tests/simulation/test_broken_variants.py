"""The simulation catches what it is for: each of these broken engines breaks a promise within a few worlds.

The list is that of the design (section 9), and more. What only shows in the order of statements inside the database (a
fence by a plain read, say) is caught by the isolation tests, on PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
import pytest

from stepwell.engine import executor, membership, wants
from stepwell.engine.clock import Clock
from stepwell.engine.core import change as changing
from stepwell.engine.core import end
from stepwell.engine.core import run as run_machine
from stepwell.engine.core.state import RunState
from stepwell.engine.executor import Executor
from stepwell.engine.membership import Membership
from stepwell.engine.scheduler import Scheduler
from stepwell.engine.slots import Slots
from stepwell.store import admission, claim, group_commit, sqlite, waiting
from stepwell.store.batch import Batch
from stepwell.store.query import Statement, load_queries
from stepwell.store.request import CommitRequest, IngestRequest, LeaveRequest, Request, Result, Verdict
from tests.simulation.app import Parallel, Program, Sleep, Step
from tests.simulation.database import SharedStore, SimulatedStore
from tests.simulation.faults import Faults
from tests.simulation.world import PromiseBroken, World, failure_handler

FIRST, WORLDS_MAX = 50, 60
TURNS_MAX = 30_000  # those that go round in circles are known soon enough

Break: TypeAlias = Callable[[pytest.MonkeyPatch], None]

CRASHES = Faults(crash_before_commit=0.02, crash_after_commit=0.02, crash_per_minute=2.0)
FORGETS = Faults(forgotten_run=0.3)
DOUBLES = Faults(doubled_commit=0.2)
PAUSES = Faults(pause_per_minute=6.0)
STOPS = Faults(stop_per_minute=6.0)
UNKNOWN = Faults(unknown_commit=0.05)

WIDE = (
    Program(
        "one-wide",
        (Parallel(tuple((Step(f"s{took_ms}", took_ms=took_ms),) for took_ms in (1, 500, 3_000, 20_000))),),
        1,
        1,
        ("a", "b", "a/b.c"),
    ),
    failure_handler("one-wide"),
)
"""Each step that ends is followed by a discovery, and may end while that of another one is under way."""

SCATTERED = tuple(
    Program(f"{app}-nap", (Sleep("nap", 86_400_000), Step("s")), 1, 2, (name,), app=app)
    for app, name in (("one", "a"), ("two", "b"), ("three", "a/b.c"))
)
"""Apps of one function each, so that a replica may never have had to do with one of them."""


THROTTLED = (
    Program("one-throttled", (Step("s"),), 1, 2, ("a",), flow={"throttle": {"limit": 1, "period": "10s", "burst": 1}}),
    failure_handler("one-throttled"),
)


def statement(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """Put another text in the place of a query."""
    queries = load_queries("sqlite")
    monkeypatch.setitem(queries, name, queries[name]._replace(text=text))
    monkeypatch.setattr(sqlite, "_text", lambda name, row_count: queries[name].sqlite(row_count))


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


def more_calls_than_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    def reserve(self: Slots, partition: str, count: int = 1) -> bool:
        self._used[partition] = self._used.get(partition, 0) + count
        return True

    monkeypatch.setattr(Slots, "reserve", reserve)


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


def nothing(*_arguments: object) -> Any:
    """Be a plan that does nothing."""
    yield from ()


def event_ids_without_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_take_windows", nothing)


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
    for module in (run_machine, changing):
        monkeypatch.setattr(module, "wants_discovery", lambda state, job: not job.is_joined)


# -- waits and flow control ---------------------------------------------------------------------------------------------


def waits_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(monkeypatch, "wait_take", "select v.run_id, v.job_id from v")


def no_look_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_look_back", nothing)


def events_not_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "holds", lambda *_, **__: False)


def conditions_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "holds", lambda *_, **__: True)


def resumed_runs_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    took_in = Executor.took_in
    monkeypatch.setattr(
        Executor, "took_in", lambda self, intakes, result: took_in(self, intakes, result._replace(resumed=()))
    )


def parents_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end, "end_resolution", lambda *_: None)


def signals_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(
        monkeypatch,
        "signal_take",
        "select data from signal where environment = :environment and name = :name order by id limit 1",
    )


def limits_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wants, "_slot_limit", lambda *_: None)


def limits_of_runs_forgotten_after_their_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(monkeypatch, "slot_free", "delete from slot where run_id in (select v.run_id from v)")


def concurrency_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(monkeypatch, "slot_free", "select 1 from v where 1 = 0")


def concurrency_of_the_dead_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(monkeypatch, "slot_sweep", "select 1 where 1 = 0")


def room_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "room", lambda *_: None)


def throttles_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_none(*_arguments: object) -> Any:
        yield from ()
        return {}

    monkeypatch.setattr(claim, "_load_throttles", load_none)


def rates_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_limit_rates", nothing)


def singletons_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_single_out", nothing)


def gatherings_fired_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(monkeypatch, "gathering_take", "select v.run_id from v")


def gatherings_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "gathered", lambda *_: None)


def full_batches_take_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "is_full", lambda *_: False)


def end_of_a_pause_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "recheck", lambda *_: None)


def checkpoints_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    real = executor.checkpoint
    monkeypatch.setattr(
        executor,
        "checkpoint",
        lambda *arguments, **rest: (found := real(*arguments, **rest)) and msgspec.structs.replace(found, steps=()),
    )


# -- among several replicas ---------------------------------------------------------------------------------------------


def no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(
        monkeypatch,
        "replica_fence",
        "select environment.id, environment.revision from (select :id) left join environment on true",
    )


def reaper_does_not_release(monkeypatch: pytest.MonkeyPatch) -> None:
    leases_of_the_dead_kept(monkeypatch)


def reaper_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Membership, "_may_judge", False)


def reaper_takes_the_living(monkeypatch: pytest.MonkeyPatch) -> None:
    statement(monkeypatch, "replica_survey", "select count(*), count(*) - 1, 0, 0 from replica where :id <> :silent_ms")
    statement(monkeypatch, "replica_reap", "delete from replica where id <> :id and :silent_ms > 0")


def orphans_not_released(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave_them(*_arguments: object) -> None:
        pass

    monkeypatch.setattr(Membership, "_release_orphans", leave_them)


def news_lost_and_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "_LOOK_EVERY", 1 << 30)


def calls_without_a_good_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Membership, "may_call", True)


def unknown_outcome_taken_for_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    no_fence_and_no_version_check(monkeypatch)


def drain_drops_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave_alone(_batch: Batch, _index: int, _request: LeaveRequest) -> Any:
        yield Statement("replica_remove", parameters={"id": _batch._replica_id})

    monkeypatch.setattr(Batch, "_leave", leave_alone)


def stops_without_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = SharedStore.submit

    def submit_no_leave(self: SharedStore, request: Request) -> asyncio.Future[Result]:
        if not isinstance(request, LeaveRequest):
            return submit(self, request)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        future.set_result(Result(Verdict.COMMITTED))
        return future

    monkeypatch.setattr(SharedStore, "submit", submit_no_leave)


def clock_goes_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "now", lambda self: self._given())


def own_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "set", lambda *_: None)


def claims_what_others_have(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = load_queries("sqlite")
    text = queries["job_claim"].text
    assert "and owner is null" in text
    statement(monkeypatch, "job_claim", text.replace("and owner is null", ""))


def every_replica_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    text = load_queries("sqlite")["schedule_tick"].text
    assert "and schedule.next_at = v.seen_at" in text
    statement(monkeypatch, "schedule_tick", text.replace("and schedule.next_at = v.seen_at", ""))


class Variant(NamedTuple):
    """A broken engine, and the worlds in which it shows. ``replicas`` share a database; 0 is one with its own file."""

    break_it: Break
    faults: Faults = Faults()
    replicas: int = 0
    programs: tuple[Program, ...] = ()
    """Functions in which it shows; none are those that the seed makes up."""


VARIANTS = [
    Variant(no_version_check, FORGETS),
    Variant(job_not_deleted_at_commit, CRASHES),
    Variant(no_fence_and_no_version_check, DOUBLES),
    Variant(timer_dropped),
    Variant(handed_over_twice),
    Variant(slots_not_given_back),
    Variant(more_calls_than_slots),
    Variant(leases_of_the_dead_kept, CRASHES),
    Variant(lost_attempts_use_up_retries, CRASHES),
    Variant(generation_not_raised, CRASHES),
    Variant(acknowledged_too_early, Faults(crash_before_commit=0.1)),
    Variant(sent_again_starts_again, Faults(crash_after_commit=0.1)),
    Variant(event_ids_without_a_window),
    Variant(unseen_completions_forgotten, Faults(slow=0.3), programs=WIDE),
    Variant(plan_not_forced_while_steps_are_pending),
    Variant(groups_that_never_end),
    Variant(waits_not_taken),
    Variant(no_look_back),
    Variant(events_not_matched),
    Variant(conditions_not_looked_at),
    Variant(resumed_runs_not_noticed),
    Variant(parents_not_told),
    Variant(signals_given_twice),
    Variant(limits_not_asked),
    Variant(limits_of_runs_forgotten_after_their_first_call),
    Variant(concurrency_not_given_back),
    Variant(concurrency_of_the_dead_kept, CRASHES),
    Variant(room_not_told),
    Variant(throttles_forget, programs=THROTTLED),
    Variant(rates_forget),
    Variant(singletons_not_asked),
    Variant(gatherings_fired_twice),
    Variant(gatherings_not_noticed),
    Variant(full_batches_take_more),
    Variant(end_of_a_pause_not_noticed),
    Variant(checkpoints_not_remembered),
    Variant(no_version_check, replicas=2),
    Variant(no_fence, PAUSES, replicas=2),
    Variant(reaper_does_not_release, CRASHES, replicas=2),
    Variant(reaper_never_comes, CRASHES, replicas=2),
    Variant(reaper_takes_the_living, replicas=2),
    Variant(orphans_not_released, UNKNOWN, replicas=2),
    Variant(news_lost_and_nobody_looks, Faults(lost_news=1.0), replicas=3, programs=SCATTERED),
    Variant(calls_without_a_good_beat, Faults(pause_after_commit=0.05), replicas=2),
    Variant(unknown_outcome_taken_for_a_failure, UNKNOWN, replicas=2),
    Variant(drain_drops_its_jobs, STOPS, replicas=2),
    Variant(stops_without_leaving, STOPS, replicas=2),
    Variant(clock_goes_backwards, Faults(clock_step=0.05)),
    Variant(clock_goes_backwards, Faults(database_clock_step=0.05), replicas=2),
    Variant(own_clock_decides, replicas=2),
    Variant(claims_what_others_have, replicas=2),
    Variant(every_replica_ticks, replicas=2),
]


@pytest.mark.parametrize(
    "variant", VARIANTS, ids=[f"{variant.break_it.__name__}-{variant.replicas}" for variant in VARIANTS]
)
def test_a_broken_engine_is_caught(variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variant.break_it(monkeypatch)

    for seed in range(FIRST, FIRST + WORLDS_MAX):
        world = World(
            seed,
            tmp_path,
            faults=replace(variant.faults),
            replicas=variant.replicas,
            programs=variant.programs,
            turns_max=TURNS_MAX,
        )
        try:
            world.play()
        except PromiseBroken:
            return
    pytest.fail(f"{WORLDS_MAX} worlds didn't notice")


def test_what_is_caught_is_what_the_design_asks_for() -> None:
    """Section 9, but for what the isolation tests have (see there): fence by plain read, no name lock."""
    by_name = {variant.break_it.__name__ for variant in VARIANTS}

    assert by_name >= {
        "no_fence",
        "no_version_check",
        "orphans_not_released",
        "slots_not_given_back",
        "timer_dropped",
        "no_fence_and_no_version_check",  # a commit done twice
    }
    assert len(by_name) >= 25
