"""A world is a server and an app of one SDK that talk to each other: what the scenarios run in."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import pytest

from tests.e2e.harness import ROOT, App, Mode, Server, eventually

Json = Any

NODE_MAJOR_MIN: Final = 20
_TS: Final = ROOT / "tests" / "sdks" / "ts"

SLOW_EVENTS: Final[dict[str, Json]] = {
    "test/parallel": {},
    "test/mixed": {},
    "test/race": {},
    "test/flaky": {},
    "test/catch": {},
    "test/broken": {"order": "o1"},
    "test/later": {},
    "test/fan": {},
}
"""Events whose runs take seconds, since something in them is tried again or sleeps. All are sent before the first test, so
that they wait together; a test about one of them finds its id by ``World.started``."""


class Sdk(NamedTuple):
    """One SDK under one framework, and where its protocol lets it differ from the others."""

    name: str
    program: str
    """A module of ``apps/``, or a file of ``ts/``."""
    path: str = "/api/inngest"
    package: str | None = None
    """The npm package, for TypeScript."""
    has_race: bool = True
    """Whether parallel branches can go on before all of them have come so far. Ours can't yet."""
    has: frozenset[str] = frozenset()
    """What its app tries besides the functions of ``recorder``: a scenario names what it ``needs``."""

    @property
    def is_ours(self) -> bool:
        """Whether it reads ``STEPWELL_…`` variables."""
        return self.program.startswith("stepwell")

    def argv(self) -> list[str]:
        """Return the command line of its app; fail when it isn't installed."""
        if self.package is None:
            return [sys.executable, "-X", "faulthandler", "-m", f"tests.sdks.apps.{self.program}", "{port}"]
        return [node_with(self.package), str(_TS / self.program), "{port}"]


_ALL: Final = frozenset(("waits", "ai", "groups", "flow"))
_MORE: Final = _ALL | {"signals", "fetch", "first of"}
_OF_TS: Final = _MORE | {"promise race", "streams", "unchecked"}

SDKS: Final = (
    Sdk(
        "stepwell-asgi",
        "stepwell_asgi",
        "/api/stepwell",
        has_race=False,
        has=_MORE | {"checkpoints", "jitter", "looks back", "run concurrency"},
    ),
    Sdk("stepwell-wsgi", "stepwell_wsgi", "/api/stepwell", has_race=False),
    Sdk("inngest-fastapi", "inngest_fastapi", has=_ALL | {"jitter", "unchecked"}),
    Sdk("inngest-flask", "inngest_flask"),
    Sdk("typescript4", "app4.mjs", package="inngest", has=_OF_TS | {"checkpoints", "buffer"}),
    Sdk("typescript3", "app3.mjs", package="inngest3", has=_OF_TS - {"flow"}),
)


def node_with(package: str) -> str:
    """Return the path of Node; fail when it, or the package, isn't there: an SDK that isn't tested is no pass."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("the TypeScript SDK can't be tested: there is no node on PATH (./dev test puts one there)")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_MAJOR_MIN:
        pytest.fail(f"the TypeScript SDK can't be tested: {node} is {version}, and {NODE_MAJOR_MIN} or newer is needed")
    if not (_TS / "node_modules" / package).is_dir():
        pytest.fail(f"the TypeScript SDK can't be tested: {package} is missing; run `npm ci` in tests/sdks/ts")
    return node


class World:
    """A server that found the app by its URL (``-u``), with an SDK's app that knows the server."""

    def __init__(self, folder: Path, sdk: Sdk, mode: Mode, *flags: str, db: str | None = None) -> None:
        self.sdk, self.mode, self.folder = sdk, mode, folder
        argv = sdk.argv()
        self.server = Server(folder, mode, *flags, db=db)
        self.app = App(folder, argv, {}, name=sdk.name)
        self.app.environment |= self.server.app_environment
        if sdk.is_ours and mode == "start":
            # Without it an app of ours lets nobody but the server have it registered.
            self.app.environment["STEPWELL_SERVE_ORIGIN"] = self.app.url
        self.app_url = self.app.url + sdk.path
        self.moving_url = f"{self.app.url}/moving{sdk.path}"
        self.server.argv += ["--retry-interval", "1", "-u", self.app_url]
        self._started: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self.app.start()
            self.server.start()
            eventually(lambda: self.functions("shop"), what=f"the server has registered {self.app_url}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop both."""
        self.server.close()
        self.app.close()

    # -- given ------------------------------------------------------------------------------------------------------

    def send(self, *events: Mapping[str, Json]) -> list[str]:
        """Send events by the SDK's own client, in one call; return their ids."""
        response = self.app.http.post("/send", json=list(events))
        assert response.status_code == 200, f"{response.status_code} {response.text}\n{self.app.output()}"
        ids: list[str] = response.json()
        return ids

    def send_one(self, name: str, data: Json = None, **fields: Json) -> str:
        """Send one event; return its id."""
        [id] = self.send({"name": name, "data": data or {}, **fields})
        return id

    def start_slow_runs(self) -> None:
        """Send the events of ``SLOW_EVENTS``."""
        slow = {name: data for name, data in SLOW_EVENTS.items() if name != "test/race" or self.sdk.has_race}
        ids = self.send(*({"name": name, "data": data} for name, data in slow.items()))
        self._started = dict(zip(slow, ids, strict=True))

    def started(self, name: str) -> str:
        """Return the id of the event of ``SLOW_EVENTS`` that was sent by ``start_slow_runs``."""
        return self._started[name]

    def skip(self, duration: str) -> datetime.datetime:
        """Move the clock of a dev server; return where it is now. What falls due on the way has been done by then."""
        moved = self.server.api("/skip", method="POST", json={"duration": duration})
        return datetime.datetime.fromisoformat(moved["now"])

    def turn(self, variant: str) -> None:
        """Give the app ``moving`` other functions: ``first`` or ``second``."""
        assert self.app.http.post(f"/turn/{variant}").status_code == 200

    # -- then -------------------------------------------------------------------------------------------------------

    def run(self, event: str) -> dict[str, Json]:
        """Wait for the end of the one run of an event; return it as ``/v1/runs/{id}`` shows it."""
        [run] = self.server.ended_runs(event)
        shown: dict[str, Json] = self.server.v1(f"/runs/{run['run_id']}")
        return shown

    def completed(self, event: str) -> dict[str, Json]:
        """Return the one run of an event, which must have completed."""
        run = self.run(event)
        assert run["status"] == "Completed", json.dumps(run, indent=1)
        return run

    def cancelled(self, event: str) -> dict[str, Json]:
        """Return the one run of an event, which must have been cancelled."""
        run = self.run(event)
        assert run["status"] == "Cancelled", json.dumps(run, indent=1)
        return run

    def waiting(self, event: str, step: str) -> str:
        """Wait until the one run of an event waits in a step; return the run's id."""

        def look() -> str:
            runs = self.server.runs(event)
            assert len(runs) == 1, runs
            id: str = runs[0]["run_id"]
            rows = self.server.api(f"/runs/{id}/timeline")["rows"]
            assert (step, "waiting") in [(row["title"], row["status"]) for row in rows], (runs, rows)
            return id

        return eventually(look, what=f"the run of {event} waits in {step!r}")

    def failed(self, event: str) -> dict[str, Json]:
        """Return the one run of an event, which must have failed."""
        run = self.run(event)
        assert run["status"] == "Failed", json.dumps(run, indent=1)
        return run

    def log(self, run: str) -> list[dict[str, Json]]:
        """Return what the app has executed for a run: ``[{run, step, attempt, value, at}]``."""
        entries: list[dict[str, Json]] = self.app.http.get("/log", params={"run": run}).json()
        return entries

    def log_of_event(self, event: str) -> list[dict[str, Json]]:
        """Return what the app has executed for all runs of an event, up to now."""
        return [entry for run in self.server.runs(event) for entry in self.log(run["run_id"])]

    def counts(self, run: dict[str, Json]) -> dict[str, int]:
        """Return how often the app has executed each step of a run."""
        return dict(Counter(entry["step"] for entry in self.log(run["run_id"])))

    def attempts(self, run: dict[str, Json], step: str) -> list[int]:
        """Return the attempt numbers that a step's executions have seen, in their order."""
        return [entry["attempt"] for entry in self.log(run["run_id"]) if entry["step"] == step]

    def times(self, run: dict[str, Json], step: str) -> list[int]:
        """Return when a step was executed, in Unix ms of the app's clock."""
        return [entry["at"] for entry in self.log(run["run_id"]) if entry["step"] == step]

    def functions(self, app: str) -> dict[str, dict[str, Json]]:
        """Return the functions of an app that aren't archived, by their ids without the app's; none if it isn't known."""
        found = self.server.api("/functions")["items"]
        return {item["slug"].removeprefix(f"{app}-"): item for item in found if item["app"] == app}

    def runs_of(self, function: str, *, app: str = "shop") -> list[dict[str, Json]]:
        """Return the runs of a function, newest first, as ``/api/runs`` lists them."""
        runs: list[dict[str, Json]] = self.server.api("/runs", params={"function": f"{app}-{function}"})["items"]
        return runs

    def functions_of(self, event: str, *, count: int = 1) -> list[str]:
        """Wait for the end of an event's runs; return their functions' ids, sorted."""
        self.server.ended_runs(event, count)
        runs = self.server.api("/runs", params={"event_id": event})["items"]
        return sorted(run["function"] for run in runs)
