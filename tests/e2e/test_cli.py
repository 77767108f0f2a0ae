"""The command line against a running server: a developer's first minutes, and an operator's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import API_TOKEN, Server, run_stepwell
from tests.sdks.world import SDKS, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A dev server, and an app of our SDK."""
    with World(tmp_path_factory.mktemp("cli"), SDKS[0], "dev") as made:
        yield made


def stepwell(world: World, *words: str) -> str:
    """Run a command against the server; return what it prints."""
    ended = run_stepwell(world.folder, *words, environment={"STEPWELL_URL": world.server.url})
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_an_event_is_sent_and_its_run_followed_to_its_end(world: World) -> None:
    assert "shop-told" in stepwell(world, "send", "test/told", '{"n": 12}')

    [item] = world.runs_of("told")
    world.completed(item["event_id"])
    shown = stepwell(world, "runs", "show", item["id"])

    assert "shop-told" in shown
    assert "completed" in shown
    assert "12" in shown


def test_runs_and_functions_are_listed(world: World) -> None:
    event = world.send_one("test/steps")
    run = world.completed(event)["run_id"]

    listed = json.loads(stepwell(world, "runs", "list", "--json"))["items"]

    assert run in [item["id"] for item in listed]
    assert "test/steps" in stepwell(world, "functions")


def test_skipping_time_ends_a_long_sleep(world: World) -> None:
    event = world.send_one("test/nap", {"nap_ms": 4 * 60_000, "alarm": "2020-01-01T00:00:00.000Z"})

    stepwell(world, "skip", "5m")

    assert world.counts(world.completed(event)) == {"before": 1, "after": 1}


def test_a_server_in_production_wants_the_token_and_says_so(tmp_path: Path) -> None:
    with Server(tmp_path, "start") as server:
        here = {"STEPWELL_URL": server.url}

        without = run_stepwell(tmp_path, "runs", "list", environment=here)
        with_token = run_stepwell(tmp_path, "runs", "list", environment=here | {"STEPWELL_API_TOKEN": API_TOKEN})

    assert without.returncode != 0
    assert "token" in without.stderr
    assert "Traceback" not in without.stderr
    assert with_token.returncode == 0


def test_a_server_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"

    ended = run_stepwell(tmp_path, "send", "a", environment={"STEPWELL_URL": nowhere})

    assert ended.returncode != 0
    [line] = ended.stderr.strip().splitlines()
    assert nowhere in line
