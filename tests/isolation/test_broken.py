"""The pairs catch what they are for: without one of its rules, the store breaks a promise in one of the orders.

Each variant takes away one rule of ``design.md`` 5, and is caught by the pair that it names, in what it says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

from stepwell.engine.core.model import RunStatus
from stepwell.protocol.ids import JobId, RunId
from stepwell.store import batch, postgres_link
from stepwell.store.batch import Batch
from stepwell.store.locks import locks_of
from stepwell.store.query import Statement, load_queries
from stepwell.store.request import ClaimRequest, CommitRequest, FireRequest, ReapRequest, Request
from stepwell.store.rows import Row
from stepwell.store.waiting import Found, resolve
from tests.isolation import (
    pairs_of_events,
    pairs_of_flow,
    pairs_of_replicas,
    pairs_of_retention,
    pairs_of_runs,
    pairs_of_waits,
)
from tests.isolation.world import Case, World

Break: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def without(name: str, *pieces: str) -> Break:
    """Leave pieces out of a query's text."""

    def breaks(monkeypatch: pytest.MonkeyPatch) -> None:
        text = load_queries("postgres")[name].text
        for piece in pieces:
            assert piece in text, f"{name} has no {piece!r} that could be left out"
            text = text.replace(piece, "")
        _put(monkeypatch, name, text)

    return breaks


def instead(name: str, text: str) -> Break:
    """Put another text in the place of a query's."""
    return lambda monkeypatch: _put(monkeypatch, name, text)


def _put(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    queries = load_queries("postgres")
    parameters = tuple(parameter for parameter in queries[name].parameters if f":{parameter}" in text)
    monkeypatch.setitem(queries, name, queries[name]._replace(text=text, parameters=parameters))
    monkeypatch.setattr(postgres_link, "_text", postgres_link._text.__wrapped__)


def no_version_check(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = Batch._accept_commits

    def accept_any_version(self: Batch) -> Generator[Statement, Any, Any]:
        """Run the real one, but answer its question for the versions with those that it hopes for."""
        hoped = {
            request.transition.run.id: request.transition.run.version - 1
            for request in self._requests
            if isinstance(request, CommitRequest)
        }
        plan = accept(self)
        try:
            statement = next(plan)
            while True:
                rows = yield statement
                if statement.name == "run_lock":
                    rows = [
                        (id, version if RunStatus(status).is_final else hoped[id], status)
                        for id, version, status in rows
                    ]
                statement = plan.send(rows)
        except StopIteration as end:
            return end.value

    monkeypatch.setattr(Batch, "_accept_commits", accept_any_version)


def runs_locked_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = Batch._accept_commits

    def lock_first(self: Batch) -> Generator[Statement, Any, Any]:
        for request in self._requests:
            if isinstance(request, CommitRequest):
                yield Statement("run_lock", [(request.transition.run.id,)])
        return (yield from accept(self))

    monkeypatch.setattr(Batch, "_accept_commits", lock_first)


def released_by_the_statement_that_reaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the dead one's transaction, and then doesn't see what that wrote."""
    _put(
        monkeypatch,
        "replica_reap",
        """
        with dead as (
          delete from replica where id <> :id and beat_at < :db_now - :silent_ms returning id
        )
        update job
        set owner = null, leased_at = null, generation = job.generation + 1, lost_count = job.lost_count + 1
        where owner in (select dead.id from dead)
        """,
    )

    def reap(self: Batch, _index: int, request: ReapRequest) -> Generator[Statement, list[Row], None]:
        yield Statement("replica_reap", parameters={"id": self._replica_id, "silent_ms": request.silent_ms})

    monkeypatch.setattr(Batch, "_reap", reap)


def no_locks_of_names_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "locks_of", lambda _requests: ([], []))


def names_shared_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks back for an event shares its name with who sends it."""

    def shared(requests: Sequence[Request]) -> tuple[list[int], list[bool]]:
        numbers, _ = locks_of(requests)
        return numbers, [True] * len(numbers)

    monkeypatch.setattr(batch, "locks_of", shared)


def a_gathering_fired_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def others(requests: Sequence[Request]) -> tuple[list[int], list[bool]]:
        return locks_of([request for request in requests if not isinstance(request, FireRequest)])

    monkeypatch.setattr(batch, "locks_of", others)


def a_claim_without_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    def others(requests: Sequence[Request]) -> tuple[list[int], list[bool]]:
        return locks_of([request for request in requests if not isinstance(request, ClaimRequest)])

    monkeypatch.setattr(batch, "locks_of", others)


def a_signal_that_does_not_look_who_got_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(found: Sequence[Found], now: int) -> Generator[Statement, Any, set[tuple[RunId, JobId]]]:
        yield from resolve(found, now)
        return {(one.run_id, one.job_id) for one in found}

    monkeypatch.setattr(batch, "resolve", believe)


def rules_taken_before_waits_end(monkeypatch: pytest.MonkeyPatch) -> None:
    end = Batch._resolve

    def cancel_first(self: Batch) -> Generator[Statement, Any, None]:
        yield from self._cancel()
        self._cancels.clear()
        yield from end(self)

    monkeypatch.setattr(Batch, "_resolve", cancel_first)


class Broken(NamedTuple):
    name: str
    breaks: Break
    pair: Callable[[World], Awaitable[Case]]
    says: str
    """What the pair says of it."""


VERSION_OF_THE_OLD_SNAPSHOT: Final = """
, locked as materialized (
  select run.id from run where run.id in (select v.id from v) order by run.id for no key update of run
)
select run.id, run.version, run.status from locked join run on run.id = locked.id
"""
NO_FENCE: Final = "select id, revision from environment where :id <> ''"

BROKEN: Final = [
    # 1. The fence.
    Broken(
        "fence by a plain read",
        without("replica_fence", "for key share of replica"),
        pairs_of_replicas.an_ingest_and_the_reaper,
        "is leased to one, which is dead",
    ),
    Broken(
        "no fence",
        instead("replica_fence", NO_FENCE),
        pairs_of_replicas.an_ingest_and_the_reaper,
        "is leased to one, which is dead",
    ),
    Broken(
        "reaping without a look at the newest beat",
        without("replica_reap", "for update skip locked"),
        pairs_of_replicas.a_beat_and_the_reaper,
        "was reaped though it has beaten",
    ),
    Broken(
        "released by the statement that reaps",
        released_by_the_statement_that_reaps,
        pairs_of_replicas.a_commit_and_the_reaper,
        "is leased to one, which is dead",
    ),
    Broken(
        "generation not raised by the reaper",
        without("job_release_orphans", "generation = job.generation + 1,"),
        pairs_of_replicas.a_commit_and_the_reaper,
        "a release raises the generation",
    ),
    Broken(
        "a commit that ignores the generation",
        without("job_end", "and job.generation = v.generation"),
        pairs_of_replicas.an_adoption_and_a_commit,
        "ended a lease that isn't its own",
    ),
    Broken(
        "a release that ignores the generation",
        without("job_give_back", "and job.generation = v.generation"),
        pairs_of_replicas.two_releases,
        "took the new lease away",
    ),
    # 2. One run, one writer at a time.
    Broken(
        "no lock of the run",
        without("run_lock", "for no key update of run"),
        pairs_of_runs.two_steps_of_a_group,
        "has a place twice",
    ),
    Broken("no version check", no_version_check, pairs_of_runs.two_steps_of_a_group, "has a place twice"),
    Broken(
        "version read in the old snapshot",
        instead("run_lock", VERSION_OF_THE_OLD_SNAPSHOT),
        pairs_of_runs.two_steps_of_a_group,
        "has a place twice",
    ),
    Broken(
        "runs locked as they come",
        runs_locked_as_they_come,
        pairs_of_runs.batches_of_the_same_runs,
        "the order of locks was not kept",
    ),
    # The queue.
    Broken(
        "a claim without a lock",
        without("job_claim", "for update skip locked"),
        pairs_of_replicas.two_claims,
        "claimed twice",
    ),
    # 8. Keyed things are one conditional statement; and the revision.
    Broken(
        "a window of event ids that is always free",
        without("event_key_take", "where event_key.expires_at <= :now"),
        pairs_of_events.the_same_event_ids,
        "starts the function once",
    ),
    Broken(
        "a tick that doesn't look at the time it saw",
        without("schedule_tick", "and schedule.next_at = v.seen_at"),
        pairs_of_events.two_ticks,
        "fires once",
    ),
    Broken(
        "a registration that overwrites another",
        without("environment_bump", "and revision = :revision"),
        pairs_of_events.two_registrations_of_one_app,
        "counts, whole",
    ),
    # Waits.
    Broken(
        "no lock of an event's name",
        names_shared_by_all,
        pairs_of_waits.a_wait_that_looks_back_and_its_event,
        "the event slipped past the wait",
    ),
    Broken(
        "no lock of a signal's name",
        no_locks_of_names_and_keys,
        pairs_of_waits.a_signal_and_its_wait,
        "the signal slipped past the wait",
    ),
    Broken(
        "two waits for a signal without its lock",
        no_locks_of_names_and_keys,
        pairs_of_waits.two_waits_for_a_signal,
        "two runs wait for one signal",
    ),
    Broken(
        "a wait that ends though it has ended",
        without("job_resolve", "and job.memo is null", "and job.resolved_by is null"),
        pairs_of_waits.two_events_for_one_wait,
        "the wait ended twice",
    ),
    Broken(
        "a time-out that goes on though the event was faster",
        without("job_resolve", "owner = null,", "leased_at = null,", "generation = job.generation + 1,"),
        pairs_of_waits.an_event_and_the_time_out,
        "the wait ended twice",
    ),
    Broken(
        "a signal that doesn't look whether the wait was there",
        a_signal_that_does_not_look_who_got_it,
        pairs_of_waits.a_signal_and_the_time_out,
        "the signal was lost",
    ),
    Broken(
        "rules taken before waits end",
        rules_taken_before_waits_end,
        pairs_of_waits.an_event_that_cancels_and_the_end,
        "the order of locks was not kept",
    ),
    Broken(
        "a checkpoint that ignores the generation",
        without("job_keep", "and job.generation = v.generation", "and job.owner is not null"),
        pairs_of_waits.a_checkpoint_and_the_reaper,
        "a checkpoint of an old lease counted",
    ),
    # Flow control.
    Broken(
        "claims without a lock of the key",
        a_claim_without_its_keys,
        pairs_of_flow.two_claims_of_a_key,
        "the limit was broken",
    ),
    Broken(
        "a throttle without a lock of the key",
        a_claim_without_its_keys,
        pairs_of_flow.two_claims_of_a_throttle,
        "the limit was broken",
    ),
    Broken(
        "a slot that its run leaves behind",
        instead("slot_drop", "select v.run_id from v"),
        pairs_of_flow.a_claim_and_the_end_of_a_run,
        "which has ended",
    ),
    Broken(
        "a slot that the reaper leaves behind",
        instead("slot_sweep", "select 1"),
        pairs_of_flow.a_claim_and_the_reaper_of_a_slot,
        "and nobody has the job",
    ),
    Broken(
        "rates without a lock of the key",
        no_locks_of_names_and_keys,
        pairs_of_flow.two_starts_at_the_limit_of_a_rate,
        "the limit was broken",
    ),
    Broken(
        "singletons without a lock of the key",
        no_locks_of_names_and_keys,
        pairs_of_flow.two_singletons,
        "two singletons go on",
    ),
    Broken(
        "a gathering that is fired without a lock of its key",
        a_gathering_fired_without_its_key,
        pairs_of_flow.an_event_and_the_fire_of_a_debounce,
        "its events are still gathered",
    ),
    Broken(
        "a gathering that is fired though an event joined it",
        instead("gathering_take", "delete from gathering where run_id in (select v.run_id from v) returning run_id"),
        pairs_of_flow.an_event_and_the_fire_of_a_debounce,
        "fired though an event joined it",
    ),
    # Retention.
    Broken(
        "an event that isn't kept for the run that starts again",
        without("event_keep", "for key share"),
        pairs_of_retention.a_run_again_and_the_retention,
        "has no event",
    ),
    Broken(
        "a run that is pruned under a late reply",
        without("prune_lock_runs", "for update skip locked"),
        pairs_of_retention.a_late_reply_and_the_retention,
        "which is gone",
    ),
    Broken(
        "a window that is pruned though it was taken anew",
        without("prune_keys", "for update skip locked"),
        pairs_of_retention.a_new_window_and_the_retention,
        "the new window was deleted",
    ),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("broken", [pytest.param(broken, id=broken.name) for broken in BROKEN])
async def test_a_broken_variant_is_caught(world: World, monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    broken.breaks(monkeypatch)

    with pytest.raises(AssertionError, match=broken.says):
        await world.play(broken.pair)
