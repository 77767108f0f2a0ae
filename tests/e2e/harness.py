"""Real processes for tests: a Stepwell server, apps, and waiting for what they do.

    with Server(tmp_path, "dev", "--retry-interval", "1") as server:    # free port, database in tmp_path, GET /health seen
        [event] = server.send({"name": "user.signedup", "data": {"userId": 42}})
        [run] = server.ended_runs(event)
        assert run["output"] == {"ok": True}

        server.kill()           # kill -9; stop() is SIGTERM, and expects a clean end; pause() and resume() are SIGSTOP
        server.start()          # again, on the same port and database

- ``Server``, ``App`` and ``Process`` start on entry, or by ``start()``, and are gone after ``with``, whatever happens.
- A ``Port`` is chosen by the system and stays reserved, so no other process gets it, not even between two starts.
- Output goes to a file in the test's folder; every failure here shows its end. A suite's ``conftest.py`` may import
  ``pytest_runtest_makereport`` from here, to have it shown for every failed test.
- ``eventually`` is the only way to wait: it asks until something holds, and fails with what it saw last.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

import httpx2
import pytest

from stepwell.protocol.signature import hashed_key

ROOT: Final = Path(__file__).parents[2]
SIGNING_KEY: Final = "signkey-test-" + "5e" * 32
EVENT_KEY: Final = "event-key-of-tests"
API_TOKEN: Final = "api-token-of-tests"

STEPWELL: Final = Path(sys.executable).parent / "stepwell"

_START_S: Final = 30.0
"""Imports take a second; a machine under load may need many."""
_STOP_S: Final = 15.0
_PAUSE_S: Final = 0.02
_OUTPUT_CHARS_MAX: Final = 6000
_KEPT_ENVIRONMENT: Final = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "SSL_CERT_FILE")
_FINAL: Final = frozenset(("Completed", "Failed", "Cancelled"))

T = TypeVar("T")
Json = Any
Mode = Literal["dev", "start"]


class StillFalse(AssertionError):
    """What was waited for didn't happen in time."""


def eventually(look: Callable[[], T], *, what: str, within_s: float = 20.0) -> T:
    """Call ``look`` until its result is true, and return that; fail with ``what`` and what was seen last.

    An ``AssertionError`` of ``look`` counts as not yet.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            seen: object = (found := look())
            if found:
                return found
        except AssertionError as error:
            seen = error
        if time.monotonic() > deadline:
            raise StillFalse(f"{what}: not within {within_s} s; seen last: {seen!r}")
        time.sleep(_PAUSE_S)


def clean_environment() -> dict[str, str]:
    """Return the environment of child processes: nothing in it sets up a server or an SDK."""
    return {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ} | {
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
        "PYTHONUNBUFFERED": "1",
    }


def run_stepwell(
    folder: Path, *words: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end, in ``folder``, without settings from outside."""
    return subprocess.run(
        [STEPWELL, *words],
        cwd=folder,
        env=clean_environment() | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_START_S,
        check=False,
    )


class Port:
    """A free TCP port of this machine, reserved until ``release``.

    The socket is bound, but doesn't listen: with SO_REUSEADDR, which servers set, another may bind and listen, while
    the system gives the port to nobody who asks for any.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let the port go."""
        self._socket.close()


class Process:
    """A child process whose output is kept in a file of ``folder``."""

    running: Final[list[Process]] = []
    """The processes of this test process that were started and not stopped."""

    def __init__(self, folder: Path, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.argv = list(argv)
        self.environment = clean_environment() | dict(environment)
        self._file = folder / f"{name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The id of the child, which has been started."""
        assert self._child is not None, f"{self.name} was never started"
        return self._child.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs, or before its start."""
        return None if self._child is None else self._child.poll()

    def output(self) -> str:
        """Return the end of what it has written to stdout and stderr, over all its starts."""
        text = self._file.read_text(errors="replace") if self._file.exists() else ""
        return text[-_OUTPUT_CHARS_MAX:]

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        assert self._child is None or self._child.poll() is not None, f"{self.name} runs already"
        with self._file.open("ab") as file:
            self._child = subprocess.Popen(
                self.argv, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self.running.append(self)
        eventually(self._is_up, what=f"{self.name} is ready", within_s=_START_S)

    def _is_up(self) -> bool:
        if self.status is not None:
            pytest.fail(f"{self.name} ended at its start with status {self.status}:\n{self.output()}")
        return self.is_ready()

    def is_ready(self) -> bool:
        """Tell whether it has started; asked until it says so."""
        return True

    def wait(self, within_s: float = _STOP_S) -> int:
        """Wait for its end; return the exit status, negative for a signal."""
        assert self._child is not None, f"{self.name} was never started"
        try:
            status = self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} did not end within {within_s} s:\n{self.output()}")
        if self in self.running:
            self.running.remove(self)
        return status

    def stop(self, within_s: float = _STOP_S) -> int:
        """Ask it to end (SIGTERM), and wait until it has; return the exit status."""
        self._signal(signal.SIGTERM)
        return self.wait(within_s)

    def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """SIGSTOP: its connections stay open, and it does nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: let it go on after ``pause``."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """See to it that it doesn't run any more."""
        if self._child is not None and self._child.poll() is None:
            self.resume()
            self._child.terminate()
            try:
                self._child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        if self in self.running:
            self.running.remove(self)

    def _signal(self, number: signal.Signals) -> None:
        assert self._child is not None, f"{self.name} was never started"
        self._child.send_signal(number)


class _Listener(Process):
    """A process that answers HTTP on a port of its own."""

    def __init__(
        self, folder: Path, name: str, argv: Sequence[str], environment: Mapping[str, str], *, port: Port | None
    ) -> None:
        super().__init__(folder, name, argv, environment)
        self._own_port = Port() if port is None else None
        reserved = port or self._own_port
        assert reserved is not None
        self.url = f"http://127.0.0.1:{reserved.number}"
        # No proxy of the machine stands between two processes of it.
        self.http = httpx2.Client(base_url=self.url, trust_env=False, timeout=_STOP_S)

    def close(self) -> None:
        """See to it that it doesn't run any more, and let its port go."""
        self.http.close()
        super().close()
        if self._own_port is not None:
            self._own_port.release()

    def answers(self, path: str) -> bool:
        """Tell whether GET ``path`` is answered with 200."""
        try:
            return self.http.get(path).status_code == 200
        except httpx2.TransportError:
            return False


class App(_Listener):
    """An app under test: listens on its port and answers GET ``/log`` when it is ready.

    In ``argv``, ``{port}`` stands for the port's number.
    """

    def __init__(
        self,
        folder: Path,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        name: str = "app",
        port: Port | None = None,
    ) -> None:
        super().__init__(folder, name, argv, environment, port=port)
        number = self.url.rpartition(":")[2]
        self.argv = [word.replace("{port}", number) for word in self.argv]

    def is_ready(self) -> bool:
        """Tell whether the app answers."""
        return self.answers("/log")


class Server(_Listener):
    """A Stepwell server: ``stepwell dev`` without search for apps, or ``stepwell start`` with the keys above.

    ``flags`` are added to the command line. The database is ``db``, a file (by default ``server.db`` in ``folder``) or
    a URL; several servers on one URL are replicas.
    """

    def __init__(
        self,
        folder: Path,
        mode: Mode,
        *flags: str,
        name: str = "server",
        port: Port | None = None,
        db: Path | str | None = None,
    ) -> None:
        super().__init__(folder, name, (), {}, port=port)
        self.mode = mode
        self.db = db or folder / "server.db"
        assert STEPWELL.exists(), f"there is no {STEPWELL}: install the project into this environment (./dev test does)"
        keys = ("--signing-key", SIGNING_KEY, "--event-key", EVENT_KEY, "--api-token", API_TOKEN)
        own = ("--no-discovery",) if mode == "dev" else keys
        number = self.url.rpartition(":")[2]
        self.argv = [str(STEPWELL), mode, "--host", "127.0.0.1", "--port", number, "--db", str(self.db), *own, *flags]

    def is_ready(self) -> bool:
        """Tell whether the server answers."""
        return self.answers("/health")

    def why_unready(self) -> str | None:
        """Return what GET ``/ready`` has against sending it requests; None when it is ready."""
        response = self.http.get("/ready")
        assert response.status_code in (200, 503), response.text
        return None if response.status_code == 200 else response.json()["message"]

    def log(self, event: str) -> list[dict[str, Json]]:
        """Return the log lines of one name, of a production server, over all its starts."""
        lines = [json.loads(line) for line in self._file.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    @property
    def app_environment(self) -> dict[str, str]:
        """The environment variables that an app needs to work with this server, for our SDK and the official ones."""
        keys = {"EVENT_KEY": EVENT_KEY, "SIGNING_KEY": SIGNING_KEY}
        ours = {"DEV": "1"} if self.mode == "dev" else {"DEV": "0", **keys}
        found = {f"{prefix}_{key}": value for prefix in ("STEPWELL", "INNGEST") for key, value in ours.items()}
        return found | {"STEPWELL_URL": self.url, "INNGEST_BASE_URL": self.url}

    # -- what an SDK, or a user, asks the server ------------------------------------------------------------------

    def send(self, *events: Mapping[str, Json]) -> list[str]:
        """Send events in one request; return their ids."""
        response = self.http.post(f"/e/{EVENT_KEY}", json=list(events))
        assert response.status_code == 200, response.text
        ids: list[str] = response.json()["ids"]
        return ids

    def ask_api(
        self, path: str, *, method: str = "GET", json: Json = None, params: Mapping[str, Json] | None = None
    ) -> httpx2.Response:
        """Call our REST API under ``/api``, with the token; return the response, whatever it is."""
        headers = {"Authorization": f"Bearer {API_TOKEN}"}
        return self.http.request(method, f"/api{path}", json=json, params=params, headers=headers)

    def api(
        self, path: str, *, method: str = "GET", json: Json = None, params: Mapping[str, Json] | None = None
    ) -> Json:
        """Call our REST API; return the decoded answer, which must be 2xx."""
        response = self.ask_api(path, method=method, json=json, params=params)
        assert response.is_success, f"{method} /api{path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def v1(self, path: str) -> Json:
        """GET ``/v1…`` as an SDK does, with the signing key; return ``data`` of the answer."""
        headers = {"Authorization": f"Bearer {hashed_key(SIGNING_KEY)}"}
        response = self.http.get(f"/v1{path}", headers=headers)
        assert response.status_code == 200, f"GET /v1{path}: {response.status_code} {response.text}"
        return response.json()["data"]

    def runs(self, event_id: str) -> list[dict[str, Json]]:
        """Return the runs that an event has started, as ``/v1/events/{id}/runs`` shows them."""
        runs: list[dict[str, Json]] = self.v1(f"/events/{event_id}/runs")
        return runs

    def ended_runs(self, event_id: str, count: int = 1, *, within_s: float = 20.0) -> list[dict[str, Json]]:
        """Wait until an event has started ``count`` runs and all have ended; return them."""

        def look() -> list[dict[str, Json]]:
            runs = self.runs(event_id)
            assert len(runs) >= count, f"{len(runs)} runs, not {count}"
            assert all(run["status"] in _FINAL for run in runs), runs
            return runs

        runs = eventually(look, what=f"{count} runs of event {event_id} have ended", within_s=within_s)
        assert len(runs) == count, runs
        return runs


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the running processes have written, with each failed test."""
    report = yield
    if report.failed:
        for process in Process.running:
            state = "running" if process.status is None else f"ended with status {process.status}"
            report.sections.append((f"output of {process.name} (pid {process.pid}, {state})", process.output()))
    return report
