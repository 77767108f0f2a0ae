"""The commands of the page about operations, one after the other, on a PostgreSQL of the tests and real servers."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, Self

import httpx2
import pytest

from tests.docs.pages import OPERATIONS, Command, blocks, fits, session
from tests.e2e.harness import Port, eventually
from tests.postgres import Installation, Postgres, system, wheel

_COMMAND_S: Final = 40
_STOP_S: Final = 30
_EVENT: Final = {"name": "order.placed", "id": "order-1", "data": {}}


@pytest.fixture
def server(postgres_of: Callable[[Installation], Postgres]) -> Postgres:
    """The machine's own where there is one: its pg_dump is the one that users have."""
    return postgres_of(system() or wheel())


@pytest.fixture
def machine(server: Postgres, tmp_path: Path) -> Generator[Machine]:
    with Machine(server, tmp_path) as machine:
        yield machine


def test_the_commands_of_the_page_do_what_it_says(machine: Machine) -> None:
    for block in sorted((*blocks(OPERATIONS, "sql"), *blocks(OPERATIONS, "console")), key=lambda block: block.line):
        if block.language == "sql":
            machine.run_sql(block.text)
        else:
            for command in session(block):
                assert fits(command, machine.enter(command))

    assert machine.event_count("NEW_DB") == machine.event_count("STEPWELL_DB") == 1
    assert machine.migrations("backup.db") == machine.migrations(".stepwell/stepwell.db") > 0
    assert machine.stop() == [0, 0, 0, 0, 0]


class Machine:
    """Stands for the machines of the page: a shell with variables, and the servers that go on."""

    def __init__(self, server: Postgres, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._main, self._two, self._new, self._owner = "docs", "docs_two", "docs_new", "docs_owner"
        bins = (Path(sys.executable).parent, server.installation.bin)
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("STEPWELL_", "INNGEST_"))},
            "PATH": os.pathsep.join([*map(str, bins), os.environ["PATH"]]),
            "OWNER_DB": self._url(self._two),
            "SERVER_DB": self._url(self._two, user="stepwell_server"),
            "PROXY_DB": self._url(self._main),
            "NEW_DB": self._url(self._new),
        }
        self._ports: list[Port] = []
        self._beside: list[subprocess.Popen[bytes]] = []

    def _url(self, database: str, *, user: str | None = None) -> str:
        return f"postgresql://{user or self._owner}:change-me@127.0.0.1:{self._server.port}/{database}"

    def __enter__(self) -> Self:
        self._server.psql("create role stepwell_server login password 'change-me'")
        file = self._folder / ".stepwell" / "stepwell.db"
        self._run(f"stepwell migrate run --db {file}")
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for process in self._beside:
                process.kill()
                process.wait()
            for port in self._ports:
                stack.callback(port.release)
            stack.callback(self._server.psql, f"drop role if exists {self._owner}, stepwell_server")
            for name in (self._main, self._two, self._new):
                stack.callback(self._server.psql, f"drop database if exists {name} with (force)")

    def run_sql(self, text: str) -> None:
        """Run a block: what makes roles and databases as the administrator, the rest as the owner."""
        if text.startswith("create role"):
            for name in ("role ", "owner "):
                text = text.replace(f"{name}stepwell", name + self._owner)
            for statement in text.replace("database stepwell", f"database {self._main}").split(";\n"):
                self._server.psql(statement)
            for name in (self._two, self._new):
                self._server.psql(f"create database {name} owner {self._owner}")
        else:
            url = self._environ["OWNER_DB" if text.startswith("grant") else "STEPWELL_DB"]
            self._psql(text, url)

    def enter(self, command: Command) -> str:
        """Run a command; return what it prints, or nothing if it goes on."""
        text, _, elsewhere = command.text.partition("    # ")
        text = text.replace("stepwell:change-me@db.internal/stepwell", self._url(self._main).partition("//")[2])
        match text.split():
            case ["pip", *_]:
                return ""
            case ["export", *_]:
                self._export(text)
                return ""
            case ["curl", "-s", url]:
                return httpx2.get(url.replace("8288", str(self._ports[0].number)), trust_env=False).text + "\n"
            case ["sqlite3", file, *_]:  # its shell may not be here
                statement = text.partition('"')[2].rstrip('"').replace("backup.db", str(self._folder / "backup.db"))
                with closing(sqlite3.connect(self._folder / file, isolation_level=None)) as db:
                    db.execute(statement)
                return ""
            case _ if elsewhere:
                self._start(text)
                return ""
            case _:
                return self._run(text)

    def event_count(self, variable: str) -> int:
        """Return how many events a database has."""
        return int(self._psql("select count(*) from stepwell.event", self._environ[variable]))

    def migrations(self, file: str) -> int:
        """Return how many migrations a SQLite file has seen."""
        return self._run(f"stepwell migrate show --db {file}").count(" done ")

    def stop(self) -> list[int]:
        """Stop all servers, and return their statuses."""
        for process in self._beside:
            process.terminate()
        return [process.wait(_STOP_S) for process in self._beside]

    # -- inside -----------------------------------------------------------------------------------------------------

    def _export(self, text: str) -> None:
        text = text.replace(
            "openssl rand -hex", "python -c 'import secrets, sys; print(secrets.token_hex(int(sys.argv[1])))'"
        )
        for line in self._run(f"{text}; env -0").split("\0"):
            name, is_variable, value = line.partition("=")
            if is_variable:
                self._environ[name] = value

    def _psql(self, text: str, url: str) -> str:
        command = [self._server.installation.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text, url]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_COMMAND_S)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-c", text],
            check=False,
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
        )
        assert done.returncode == 0, f"$ {text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, text: str) -> None:
        port = Port()
        self._ports.append(port)
        log_path = self._folder / f"server-{len(self._ports)}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {text}"],
                cwd=self._folder,
                env=self._environ | {"STEPWELL_PORT": str(port.number)},
                stdout=log,
                stderr=log,
            )
        self._beside.append(process)

        def is_ready() -> bool:
            assert process.poll() is None, log_path.read_text()
            try:
                return httpx2.get(f"http://127.0.0.1:{port.number}/ready", trust_env=False).is_success
            except httpx2.TransportError:
                return False

        eventually(is_ready, what=text)
        if len(self._beside) == 1:
            url = f"http://127.0.0.1:{port.number}/e/{self._environ['STEPWELL_EVENT_KEY']}"
            assert httpx2.post(url, json=_EVENT, trust_env=False).status_code == 200
