"""Replicas: two servers on one PostgreSQL, and what becomes of work when one of them is full, dead, paused or restarted."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self

import httpx2
import psutil
import pytest

from tests.e2e.account import OWN_FAILURE, settle
from tests.e2e.chaos import Kind, PostgresDatabase, World, plan_troubles
from tests.e2e.gated_app import YEARLY, Body, GatedApp
from tests.e2e.harness import EVENT_KEY, Process, Server, eventually
from tests.postgres import Postgres

Json = Any

TAKE_OVER_S = 4.0
QUIET_LINES_MAX = 10
MOMENT_S = 3.0
"""What is done at once is done within it, on a machine under load."""
NEVER = ("--take-over", "60")
"""In such a test nobody is declared dead: what goes on elsewhere was handed over."""


class Pair:
    """Two replicas, A and B, and an app that A has registered."""

    def __init__(self, a: Server, b: Server, app: GatedApp, database: PostgresDatabase) -> None:
        self.a, self.b, self.app, self.database = a, b, app, database

    def hold(self, server: Server, *numbers: int) -> list[str]:
        """Send events that start a run each whose first step waits; return the events' ids."""
        return server.send(*({"name": "test/held", "data": {"n": number}} for number in numbers))

    def outcome(self, server: Server, event: str, *, within_s: float = 20.0) -> tuple[str, Json]:
        """Wait for the end of an event's one run; return its status and output."""
        [run] = server.ended_runs(event, within_s=within_s)
        return run["status"], run["output"]

    def attempts_that_failed(self) -> list[tuple[Any, ...]]:
        """Return the number and outcome of every attempt that wasn't good."""
        return self.database.rows("select attempt, outcome from attempt where outcome <> 'ok'")

    def replica_ids(self) -> set[str]:
        """Return the ids of the replicas that count as alive."""
        return {id for (id,) in self.database.rows("select id from replica")}


class Sender:
    """Sends one event after the other to one server; each must be answered, whatever happens."""

    def __init__(self, server: Server) -> None:
        self.acknowledged: list[str] = []
        self.refusals: list[str] = []
        self._url = server.url
        self._failure: BaseException | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._send, name=f"sender to {server.name}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(60)
        assert self._failure is None, self._failure

    def _send(self) -> None:
        try:
            with httpx2.Client(base_url=self._url, trust_env=False, timeout=30) as http:
                while not self._is_over.wait(0.05):
                    response = http.post(f"/e/{EVENT_KEY}", json={"name": "test/quick", "data": {"n": 1}})
                    if response.status_code == 200:
                        self.acknowledged += response.json()["ids"]
                    else:
                        assert response.status_code == 503, f"{response.status_code} {response.text}"
                        self.refusals.append(response.json()["error"])
        except BaseException as error:
            self._failure = error


MakePair = Callable[..., Pair]


@pytest.fixture
def make_pair(tmp_path: Path, postgres_url: str) -> Iterator[MakePair]:
    """Start a pair with flags of its own."""
    with ExitStack() as stack:

        def make(
            *flags: str, a_flags: Sequence[str] = (), b_flags: Sequence[str] = (), url: str | None = None, schedules=0
        ) -> Pair:
            a, b = (
                Server(tmp_path, "start", *flags, *own, name=name, db=url or postgres_url)
                for name, own in (("a", a_flags), ("b", b_flags))
            )
            stack.callback(a.close)
            stack.callback(b.close)
            start(a, b)
            app = stack.enter_context(GatedApp(a, schedules=schedules))
            app.register()
            return Pair(a, b, app, PostgresDatabase(url or postgres_url))

        yield make


def start(*processes: Process) -> None:
    """Start processes side by side."""
    with ThreadPoolExecutor() as pool:
        for started in [pool.submit(process.start) for process in processes]:
            started.result()


def gap_s(before: float, body: Body) -> float:
    """Return how long after a time an execution has begun."""
    return body.began_at - before


# -- high availability ------------------------------------------------------------------------------------------------


def test_two_processes_on_one_database_share_the_work_of_one_that_is_full(make_pair: MakePair) -> None:
    pair = make_pair("--calls-per-app", "2", *NEVER)

    events = pair.hold(pair.a, *range(6))

    # Of one replica there are never more than its two.
    pair.app.began(count=4, within_s=MOMENT_S)
    pair.app.open(*pair.app.bodies)
    for body in pair.app.began(count=6):
        pair.app.open(body)
    assert {pair.outcome(pair.b, event)[0] for event in events} == {"Completed"}
    assert len(pair.app.of()) == len(pair.app.of(step="after")) == 6


def test_what_is_synced_through_one_is_known_to_the_other_at_once(make_pair: MakePair) -> None:
    pair = make_pair(*NEVER)

    [event] = pair.b.send({"name": "test/quick", "data": {"n": 1}})

    assert pair.outcome(pair.a, event) == ("Completed", "quick 0")


def test_a_run_can_be_cancelled_through_another_replica_than_the_one_that_works_on_it(make_pair: MakePair) -> None:
    pair = make_pair(*NEVER)
    [event] = pair.hold(pair.a, 1)
    [body] = pair.app.began()

    pair.b.api(f"/runs/{body.run}/cancel", method="POST", json={})
    pair.app.open(body)

    assert pair.outcome(pair.a, event)[0] == "Cancelled"
    assert eventually(pair.attempts_that_failed, what="the late reply is kept") == [(0, "lost")]
    assert pair.app.of(step="after") == []


def test_each_schedule_ticks_once_on_two_replicas(make_pair: MakePair) -> None:
    pair = make_pair(*NEVER, schedules=20)
    database = pair.database
    [(due_at,)] = database.rows("select (extract(epoch from clock_timestamp()) * 1000)::bigint + 1500")
    database.rows(f"update schedule set next_at = {due_at} where cron = '{YEARLY}'")
    # Both learn anew what is due when an app is synced.
    with GatedApp(pair.b, id="other") as other:
        other.register()

        pair.app.began(count=20, step="scheduled")
        eventually(
            lambda: [run for (run,) in database.rows("select status from run")] == ["completed"] * 20, what="ended"
        )

    assert len(pair.app.of(step="scheduled")) == 20
    assert database.rows(f"select 1 from schedule where next_at <= {due_at}") == []


# -- death ------------------------------------------------------------------------------------------------------------


def test_the_runs_of_a_dead_replica_go_on_elsewhere_within_the_take_over_time(make_pair: MakePair) -> None:
    pair = make_pair("--take-over", f"{TAKE_OVER_S:g}")
    events = pair.hold(pair.a, 1, 2, 3)
    pair.app.began(count=3)

    died_at = time.monotonic()
    pair.a.kill()
    again = pair.app.began(count=6)[3:]
    pair.app.open(*pair.app.bodies)

    assert max(gap_s(died_at, body) for body in again) < TAKE_OVER_S + MOMENT_S
    assert {pair.outcome(pair.b, event)[0] for event in events} == {"Completed"}
    assert pair.attempts_that_failed() == [(0, "lost")] * 3
    assert {body.attempt for body in again} == {0}  # the death used up none


def test_a_paused_replica_commits_nothing_of_what_it_lost_and_then_works_under_a_new_id(make_pair: MakePair) -> None:
    pair = make_pair("--take-over", f"{TAKE_OVER_S:g}")
    ids = pair.replica_ids()
    [event] = pair.hold(pair.a, 1)
    [lost] = pair.app.began()

    pair.a.pause()
    lost, again = pair.app.began(count=2)
    # What the paused one called for is answered first, and waits for it to come back.
    pair.app.open(lost)
    eventually(lambda: lost.ended_at, what="the lost execution has ended")
    pair.a.resume()
    eventually(lambda: pair.a.log("replica.fenced"), what="it knows that it was declared dead")
    pair.app.open(again)

    assert pair.outcome(pair.b, event) == ("Completed", ["held 1", "after 2"])
    assert pair.attempts_that_failed() == [(0, "lost")]
    eventually(lambda: pair.a.why_unready() is None, what="it is ready again")
    pair.b.stop()
    assert len(pair.replica_ids()) == 1
    assert not pair.replica_ids() & ids
    [event] = pair.a.send({"name": "test/quick"})
    assert pair.outcome(pair.a, event)[0] == "Completed"


# -- restarts ---------------------------------------------------------------------------------------------------------


def test_a_replica_that_is_asked_to_stop_lets_calls_finish_and_hands_over_the_rest_at_once(make_pair: MakePair) -> None:
    pair = make_pair(*NEVER, a_flags=["--calls-per-app", "3"], b_flags=["--calls-per-app", "1"])
    [busy] = pair.hold(pair.b, 0)
    pair.app.began(0)
    in_flight = pair.hold(pair.a, 1, 2, 3)
    pair.app.began(1, 2, 3, count=3)
    waiting = pair.hold(pair.a, 4, 5)

    with ThreadPoolExecutor() as pool:
        ending = pool.submit(pair.a.stop)
        eventually(lambda: not pair.a.answers("/health"), what="it takes no more requests")
        freed_at = time.monotonic()
        pair.app.open(*pair.app.of(0))
        # B has room for one, and never waits for A to end.
        [first] = pair.app.began(4, 5)
        pair.app.open(*pair.app.of(1, 2, 3), first)
        status = ending.result()
    for body in pair.app.began(4, 5, count=2):
        pair.app.open(body)

    assert status == 0
    assert gap_s(freed_at, first) < MOMENT_S
    assert {pair.outcome(pair.b, event)[0] for event in (busy, *in_flight, *waiting)} == {"Completed"}
    assert len(pair.app.of()) == len(pair.app.of(step="after")) == 6
    assert pair.attempts_that_failed() == []


def test_what_is_broken_off_after_the_grace_is_called_again_elsewhere_and_uses_up_no_attempt(
    make_pair: MakePair,
) -> None:
    pair = make_pair(*NEVER)
    [event] = pair.hold(pair.a, 1)
    pair.app.began()

    status = pair.a.stop(within_s=30)
    ended_at = time.monotonic()
    broken_off, again = pair.app.began(count=2)
    pair.app.open(broken_off, again)

    assert status == 0
    assert gap_s(ended_at, again) < MOMENT_S
    assert again.attempt == 0
    assert pair.outcome(pair.b, event) == ("Completed", ["held 1", "after 2"])
    assert pair.attempts_that_failed() == [(0, "lost")]


def test_a_rolling_restart_under_load_loses_and_doubles_nothing(tmp_path: Path, postgres_url: str) -> None:
    world = World(tmp_path, PostgresDatabase(postgres_url), replicas=2, take_over_s=60)
    chance = random.Random()
    kinds: list[Kind] = ["restart"] * 4

    with world:
        world.endure(plan_troubles(chance, kinds, gap_s=0.7), chance)
        account = settle(world)

    assert account.events > 20
    # Not once did a step's body run again, but for its own failures.
    assert set(account.again) <= {OWN_FAILURE}


# -- the database -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_replicas_survive_a_restart_of_the_database_and_say_so_once(
    make_pair: MakePair, mode: Literal["fast", "immediate"]
) -> None:
    with Postgres(is_durable=True) as postgres:
        pair = make_pair("--take-over", f"{TAKE_OVER_S:g}", url=postgres.create_database())
        servers = (pair.a, pair.b)
        [held] = pair.hold(pair.a, 0)
        [body] = pair.app.began(0)
        with Sender(pair.a) as first, Sender(pair.b) as second:
            eventually(lambda: first.acknowledged and second.acknowledged, what="events are taken")

            postgres.stop(mode)
            reasons = [eventually(server.why_unready, what="it is not ready") or "" for server in servers]
            pair.app.open(body)
            refused = [
                eventually(lambda sender=sender: sender.refusals, what="an event is refused")
                for sender in (first, second)
            ]
            postgres.start()
            for server in servers:
                eventually(lambda server=server: server.why_unready() is None, what="it is ready again")
            counts = [len(sender.acknowledged) for sender in (first, second)]
            for sender, count in zip((first, second), counts, strict=True):
                eventually(lambda sender=sender, count=count: len(sender.acknowledged) > count, what="events are taken")

        assert all("PostgreSQL can't be used now" in reason for reason in (*reasons, *refused[0], *refused[1]))
        assert pair.outcome(pair.b, held)[0] == "Completed"
        assert len(pair.app.of(0)) == 1
        for event in (*first.acknowledged, *second.acknowledged):
            assert pair.outcome(pair.a, event)[0] == "Completed"
        for server in servers:
            assert server.status is None
            assert len(server.log("database.unavailable")) == len(server.log("database.available")) == 1
            assert len(server.output().splitlines()) < QUIET_LINES_MAX


def test_a_pause_of_the_database_that_is_longer_than_the_take_over_time_doubles_nothing(make_pair: MakePair) -> None:
    """All replicas look dead to the one whose beat gets through first."""
    with Postgres() as postgres:
        pair = make_pair("--take-over", "2", url=postgres.create_database())
        ids = pair.replica_ids()
        events = [*pair.hold(pair.a, 1), *pair.hold(pair.b, 2)]
        pair.app.began(count=2)

        paused_at = time.monotonic()
        postgres.pause()
        eventually(lambda: time.monotonic() > paused_at + 4, what="twice the time has passed")
        postgres.resume()
        for server in (pair.a, pair.b):
            eventually(lambda server=server: server.why_unready() is None, what="it is ready again")
        pair.app.open(*pair.app.bodies)

        assert {pair.outcome(pair.a, event)[0] for event in events} == {"Completed"}
        assert len(pair.app.of()) == 2
        assert pair.replica_ids() == ids


# -- idleness ---------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("take_over_s", "for_s"), [(TAKE_OVER_S, 8.0), pytest.param(10.0, 60.0, marks=pytest.mark.long)]
)
def test_an_idle_pair_does_nothing_but_beat(make_pair: MakePair, take_over_s: float, for_s: float) -> None:
    with Postgres(settings={"log_statement": "all"}) as postgres:
        pair = make_pair("--take-over", f"{take_over_s:g}", url=postgres.create_database())
        [event] = pair.a.send({"name": "test/quick", "data": {"n": 1}})
        pair.outcome(pair.a, event)
        processes = [psutil.Process(server.pid) for server in (pair.a, pair.b)]

        began_at, log_bytes = time.monotonic(), postgres.log_path.stat().st_size
        cpu_s = [sum(process.cpu_times()[:2]) for process in processes]
        eventually(lambda: time.monotonic() > began_at + for_s, what="time goes by", within_s=for_s + 1)
        cpu_s = [sum(process.cpu_times()[:2]) - before for process, before in zip(processes, cpu_s, strict=True)]
        with postgres.log_path.open("rb") as log:
            log.seek(log_bytes)
            text = log.read().decode()

    statements = re.findall(r"LOG: {2}(?:statement|execute [^:]*): (.*)", text)
    beats = text.count("update replica")
    # A beat is a transaction of five; once in some beats a replica looks whether it has missed something.
    assert beats <= 2 * (for_s / take_over_s * 5 + 1)
    assert len(statements) <= 6 * beats + 20, "\n".join(f"{n} {s}" for s, n in Counter(statements).most_common())
    assert max(cpu_s) < 0.03 * for_s
