"""Durable endpoints (protocol 7.4): runs that begin in the app, by the TypeScript SDK, which alone has them here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import httpx2
import pytest

from stepwell.limits import ENDPOINT_SILENCE_MS
from tests.e2e.harness import App, Mode, Server, eventually
from tests.postgres import Postgres
from tests.sdks.world import node_with

PROGRAM: Final = Path(__file__).parent / "ts" / "endpoints.mjs"


class EndpointWorld:
    """A server, and an app with durable endpoints that was never registered."""

    def __init__(self, folder: Path, mode: Mode, *words: str, db: str | None = None) -> None:
        self.server = Server(folder, mode, "--retry-interval", "1", db=db)
        argv = [node_with("inngest"), str(PROGRAM), "{port}", *words]
        self.app = App(folder, argv, self.server.app_environment, name="endpoints")

    def __enter__(self) -> Self:
        try:
            self.server.start()
            self.app.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop both."""
        self.app.close()
        self.server.close()

    def post(self, path: str, body: Any = None) -> httpx2.Response:
        """Call an endpoint, and go where it leads."""
        answer = self.app.http.post(path, json=body if body is not None else {}, follow_redirects=False)
        if answer.status_code != 302:
            return answer
        return httpx2.get(answer.headers["location"], timeout=60.0)

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs of the endpoints, newest first."""
        items: list[dict[str, Any]] = self.server.api("/runs")["items"]
        return items


_NUMBERS: Final = itertools.count()


@pytest.fixture(scope="module", params=["dev", "start"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointWorld]:
    """A server in each mode, and the app."""
    with EndpointWorld(tmp_path_factory.mktemp(f"endpoints-{request.param}"), request.param) as made:
        yield made


def test_steps_in_a_row_stay_in_the_app(served: EndpointWorld) -> None:
    answer = served.post("/steps?q=1", {"cents": 5, "a": "é"})

    assert (answer.status_code, answer.json()) == (200, {"a": 6, "b": 7, "query": "1"}), served.app.output()
    assert not answer.history
    run = eventually(lambda: served.runs()[0], what="the run is there")
    rows = served.server.api(f"/runs/{run['id']}/timeline")["rows"]
    assert sorted((row["title"], row["output"]) for row in rows if row["title"]) == [("a", 6), ("b", 7)]
    assert served.server.api(f"/runs/{run['id']}")["status"] == "completed"


@pytest.mark.parametrize("spelling", ['{"id":%d,"z":1.0,"a":2}', '{ "id" : %d }'])
def test_a_sleep_leads_to_the_output_of_the_run(served: EndpointWorld, spelling: str) -> None:
    number = next(_NUMBERS)
    first = served.app.http.post("/sleep", content=spelling % number, headers={"content-type": "application/json"})
    assert first.status_code == 302, first.text

    answer = httpx2.get(first.headers["location"], timeout=60.0)

    assert (answer.status_code, answer.json()) == (200, {"a": {"times": 1}, "b": {"times": 1}, "id": number})
    assert answer.headers["content-type"] == "application/json"


def test_a_step_that_fails_is_tried_again(served: EndpointWorld) -> None:
    assert served.post("/flaky").json() == {"times": 3}


def test_steps_at_the_same_time_run_once_each(served: EndpointWorld) -> None:
    assert served.post("/parallel").json() == {"both": [1, 1]}


def test_an_endpoint_that_fails_for_good_says_so(served: EndpointWorld) -> None:
    answer = served.post("/broken")

    assert (answer.status_code, answer.json()["message"]) == (500, "for good")


def test_a_caller_may_get_a_token_instead(served: EndpointWorld) -> None:
    number = next(_NUMBERS)
    told = served.post("/sleep?answer=token", {"id": number})
    assert told.status_code == 200, told.text
    id, token = told.json()["run_id"], told.json()["token"]

    answers = [
        served.server.http.get(path, params={"token": token}, timeout=60.0)
        for path in (f"/v1/checkpoint/{id}/output", f"/v1/http/runs/{id}/output")
    ]

    assert [answer.json()["id"] for answer in answers] == [number, number]
    refused = served.server.http.get(f"/v1/checkpoint/{id}/output", params={"token": token[:-2]})
    assert refused.status_code == 401


def test_the_output_is_answered_by_a_replica_that_the_app_does_not_know(tmp_path: Path, postgres: Postgres) -> None:
    with (
        postgres.database() as url,
        EndpointWorld(tmp_path, "start", db=url) as world,
        Server(tmp_path, "start", name="other", db=url) as other,
    ):
        told = world.post("/sleep?answer=token", {"id": 1}).json()

        answer = other.http.get(f"/v1/http/runs/{told['run_id']}/output", params={"token": told["token"]}, timeout=60.0)

    assert (answer.status_code, answer.json()["id"]) == (200, 1)


def test_a_run_that_the_sdk_only_refuses_fails_by_the_servers_call(tmp_path: Path) -> None:
    with EndpointWorld(tmp_path, "dev") as world:
        assert world.post("/refuses").status_code == 400
        [run] = world.runs()
        assert run["status"] == "running"

        world.server.api("/skip", method="POST", json={"duration": f"{ENDPOINT_SILENCE_MS}ms"})

        ended = world.server.api(f"/runs/{run['id']}")
        assert (ended["status"], ended["output"]["message"]) == ("failed", "for good")


def test_a_run_goes_on_when_its_app_was_killed_in_the_middle(tmp_path: Path) -> None:
    with EndpointWorld(tmp_path, "dev", "dying") as world:
        with pytest.raises(httpx2.HTTPError):
            world.post("/dies")
        world.app.wait()
        [run] = world.runs()
        assert run["status"] == "running"
        world.app.argv.remove("dying")
        world.app.start()

        world.server.api("/skip", method="POST", json={"duration": f"{ENDPOINT_SILENCE_MS}ms"})
        [ended] = eventually(
            lambda: [found for found in [world.server.api(f"/runs/{run['id']}")] if found["status"] == "completed"],
            what="the run has completed",
        )

    assert ended["output"]["body"] == '{"b":2}'
