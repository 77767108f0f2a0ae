"""Two replicas on one PostgreSQL: what one has begun goes on by what the other is told. The app only knows the first."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.e2e.harness import Server
from tests.postgres import Postgres
from tests.sdks.world import SDKS, Sdk, World

Json = Any


class Pair(World):
    """A world with a second server on its database, which the app doesn't know: nothing but tests send to it."""

    def __init__(self, folder: Path, sdk: Sdk, url: str) -> None:
        super().__init__(folder, sdk, "start", db=url)
        self.other = Server(folder, "start", "--retry-interval", "1", name="other", db=url)

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.other.start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Stop all three."""
        self.other.close()
        super().close()

    def send_other(self, name: str, data: Json = None) -> str:
        """Send one event to the second server; return its id."""
        [id] = self.other.send({"name": name, "data": data or {}})
        return id


@pytest.fixture(scope="session", params=[pytest.param((sdk, "start"), id=sdk.name) for sdk in SDKS])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> Iterator[Pair]:
    """Two replicas, and an app that is registered with them."""
    sdk, _ = request.param
    with postgres.database() as url, Pair(tmp_path_factory.mktemp(f"{sdk.name}-pair"), sdk, url) as made:
        yield made


@pytest.fixture
def key() -> str:
    """What no other test has in its events."""
    return str(uuid.uuid4())


@pytest.mark.needs("waits")
def test_an_event_at_one_replica_ends_a_wait_of_a_run_at_the_other(pair: Pair, key: str) -> None:
    event = pair.send_other("test/wait-if", {"order": key})
    pair.waiting(event, "paid")

    pair.send_one("test/paid", {"order": key, "cents": 101})

    assert pair.completed(event)["output"]["data"]["cents"] == 101


@pytest.mark.needs("waits")
def test_a_run_that_ends_at_one_replica_comes_back_to_the_run_that_invoked_it_at_the_other(
    pair: Pair, key: str
) -> None:
    event = pair.send_other("test/parent", {"child": "wait-match", "data": {"order": key}})
    pair.waiting(event, "call")
    child = pair.runs_of("wait-match")[0]["event_id"]
    pair.waiting(child, "paid")

    pair.send_one("test/paid", {"order": key, "cents": 5})

    assert pair.completed(event)["output"]["result"]["data"]["cents"] == 5


@pytest.mark.needs("signals")
def test_a_signal_at_one_replica_reaches_the_run_that_waits_at_the_other(pair: Pair, key: str) -> None:
    event = pair.send_other("test/signalled", {"signal": key})
    pair.waiting(event, "approval")

    # The app sends its signals to the first server.
    pair.send_one("test/signal", {"signal": key, "data": 1})

    assert pair.completed(event)["output"] == {"signal": key, "data": 1}


@pytest.mark.needs("groups", "checkpoints")
def test_checkpoints_reach_the_other_replica_than_the_one_that_made_the_call(pair: Pair) -> None:
    events = [pair.send_other("test/line") for _ in range(5)]

    for event in events:
        assert pair.counts(pair.completed(event)) == {"call": 1} | {f"s{n}": 1 for n in range(12)}


@pytest.mark.needs("groups")
def test_groups_and_retries_run_each_step_once_whoever_makes_the_calls(pair: Pair) -> None:
    nested = [pair.send_one("test/nested"), pair.send_other("test/nested")]
    stumbling = [pair.send_one("test/stumble"), pair.send_other("test/stumble")]

    for event in nested:
        assert pair.counts(pair.completed(event)) == dict.fromkeys("abcdef", 1)
    for event in stumbling:
        run = pair.completed(event)
        assert [len(pair.attempts(run, f"s{n}")) for n in range(5)] == [1, 1, 2, 1, 1]


@pytest.mark.needs("flow")
def test_with_a_limit_of_one_two_replicas_never_make_two_calls_at_a_time(pair: Pair, key: str) -> None:
    data = {"key": key, "room": key, "size": 2, "ms": 50}

    events = [
        send(f"test/{name}", data) for send in (pair.send_one, pair.send_other) * 2 for name in ("keyed", "keyed")
    ]

    assert [pair.completed(event)["output"] for event in events] == [1] * len(events)


@pytest.mark.needs("flow")
def test_what_may_start_once_starts_once_on_two_replicas(pair: Pair, key: str) -> None:
    sends = [pair.send_one, pair.send_other] * 3

    events = [send("test/once", {"key": key, "n": n}) for n, send in enumerate(sends)]

    found = [pair.server.api("/runs", params={"event_id": event})["items"] for event in events]
    assert [[run["status"] for run in runs] for runs in found[1:]] == [["skipped"]] * 5
    assert pair.completed(events[0])["output"] == 0
