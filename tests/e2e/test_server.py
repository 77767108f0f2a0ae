"""The server as a process: how it starts and ends, and how it lives with apps that come, go, change and hang."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.harness import API_TOKEN, EVENT_KEY, SIGNING_KEY, App, Server, eventually, run_stepwell
from tests.sdks.world import SDKS, World

OURS = SDKS[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A dev server, and an app of our SDK."""
    made = World(tmp_path_factory.mktemp("server"), OURS, "dev")
    # The last word wins: longer than the time in which an app starts again, and shorter than a test waits.
    made.server.argv += ["--retry-interval", "2", "--poll-interval", "0.2"]
    with made:
        yield made


def test_a_server_that_is_asked_to_stop_ends_well_and_its_runs_go_on_after_a_restart(world: World) -> None:
    alarm = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    data = {"nap_ms": 1000, "alarm": alarm.isoformat(timespec="milliseconds")}
    event = world.send_one("test/nap", data)
    eventually(lambda: world.log_of_event(event), what="the first step has run")

    status = world.server.stop()
    world.server.start()

    assert status == 0, world.server.output()
    run = world.completed(event)
    assert world.counts(run) == {"before": 1, "after": 1}


def test_a_server_that_is_asked_to_stop_does_not_wait_for_open_pages(world: World) -> None:
    with world.server.http.stream("GET", "/api/stream?topics=runs", timeout=60) as page:
        messages = page.iter_text()
        assert next(messages).startswith("retry:")
        began = time.monotonic()
        status = world.server.stop()
        took_s = time.monotonic() - began
        rest = "".join(messages)
    world.server.start()

    assert status == 0, world.server.output()
    assert took_s < 4, "less than the server gives to requests under way"
    assert "event: reset" not in rest


def test_an_app_that_is_down_is_called_until_it_is_back(world: World) -> None:
    world.app.stop()
    [event] = world.server.send({"name": "test/told", "data": {"n": 7}})
    eventually(lambda: world.server.runs(event), what="the run has begun")
    run = world.server.runs(event)[0]["run_id"]

    def failed_attempts() -> list[str]:
        rows = world.server.api(f"/runs/{run}/timeline")["rows"]
        return [row["error"]["message"] for row in rows if row["status"] == "retrying"]

    messages = eventually(failed_attempts, what="the call has failed")
    world.app.start()

    assert "connection refused" in messages[0]
    assert world.completed(event)["output"] == 7


def test_a_dev_server_sees_by_itself_that_functions_have_changed(world: World) -> None:
    world.turn("first")
    world.server.api("/apps/sync", method="POST", json={"url": world.moving_url})
    assert set(world.functions("moving")) == {"stays", "goes"}

    world.turn("second")

    eventually(lambda: set(world.functions("moving")) == {"stays", "comes"}, what="the other functions are registered")


def test_an_unchanged_app_keeps_its_versions_however_often_it_is_polled(world: World) -> None:
    synced_at = world.server.api("/apps")["items"]

    world.app.http.put(OURS.path)
    world.server.api("/apps/sync", method="POST", json={"url": world.app_url.replace("127.0.0.1", "localhost")})

    assert world.server.api("/apps")["items"] == synced_at
    assert {function["version"] for function in world.functions("shop").values()} == {1}


def test_a_dev_server_finds_an_app_on_a_usual_port_without_being_told(tmp_path: Path) -> None:
    server = Server(tmp_path, "dev", "--poll-interval", "0.2")
    server.argv.remove("--no-discovery")
    app = App(tmp_path, OURS.argv(), server.app_environment, name="found")
    # The port that an app is told by its environment counts as usual.
    server.environment["PORT"] = app.url.rpartition(":")[2]

    with server, app:
        names = eventually(
            lambda: [
                item["name"] for item in server.api("/apps")["items"] if item["url"].startswith("http://localhost:")
            ],
            what="the app is registered",
        )

    assert "shop" in names


def test_an_app_that_never_answers_delays_no_other(world: World) -> None:
    release = threading.Event()

    class Stuck(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            release.wait(30)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            """Say nothing."""

    stuck = ThreadingHTTPServer(("127.0.0.1", 0), Stuck)
    stuck.daemon_threads = True
    thread = threading.Thread(target=stuck.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{stuck.server_address[1]}/api"
    runtime = {"type": "http", "url": f"{url}?fnId=stuck-f&stepId=step"}
    function = {
        "id": "stuck-f",
        "triggers": [{"event": "stuck/event"}],
        "steps": {"step": {"id": "step", "runtime": runtime, "retries": {"attempts": 0}}},
    }
    body = {"url": url, "appName": "stuck", "sdk": "js:v4.24.0", "functions": [function]}
    assert world.server.http.post("/fn/register", json=body).status_code == 200
    try:
        # More than the calls that one app may have at a time.
        world.server.send(*({"name": "stuck/event"} for _ in range(150)))

        before = datetime.datetime.now(datetime.UTC)
        assert world.completed(world.send_one("test/steps"))["output"] == {"a": 1, "b": 2, "again": [0, 1]}

        assert datetime.datetime.now(datetime.UTC) - before < datetime.timedelta(seconds=5)
    finally:
        release.set()
        stuck.shutdown()
        stuck.server_close()
        world.server.api("/apps/stuck", method="DELETE")


@pytest.mark.parametrize("missing", ["--signing-key", "--event-key"])
def test_a_production_server_without_a_key_says_which_and_does_not_start(tmp_path: Path, missing: str) -> None:
    keys = {"--signing-key": SIGNING_KEY, "--event-key": EVENT_KEY, "--api-token": API_TOKEN}
    del keys[missing]
    words = [word for pair in keys.items() for word in pair]

    ended = run_stepwell(tmp_path, "start", "--port", "0", "--db", str(tmp_path / "x.db"), *words)

    assert ended.returncode != 0
    [line] = ended.stderr.strip().splitlines()
    assert missing in line
    assert not (tmp_path / "x.db").exists()


def test_a_port_that_is_taken_is_one_clear_line(tmp_path: Path, world: World) -> None:
    taken = world.server.url.rpartition(":")[2]

    ended = run_stepwell(tmp_path, "dev", "--no-discovery", "--port", taken, "--db", str(tmp_path / "x.db"))

    assert ended.returncode != 0
    [line] = ended.stderr.strip().splitlines()
    assert taken in line
    assert "--port" in line


def test_a_production_server_answers_nothing_without_its_keys_and_moves_no_clock(tmp_path: Path) -> None:
    with Server(tmp_path, "start") as server:
        refused = {
            path: server.http.request(method, path, json={}).status_code
            for method, path in (
                ("GET", "/api/runs"),
                ("POST", "/api/skip"),
                ("POST", "/e/another-event-key"),
                ("POST", "/fn/register"),
                ("GET", "/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
                ("GET", "/v0/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/actions"),
            )
        }
        skipped = server.ask_api("/skip", method="POST", json={"duration": "1d"})

    assert set(refused.values()) == {401}, refused
    assert skipped.status_code == 404
