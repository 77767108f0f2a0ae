"""The servers that other tests are run on do what those tests rely on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.postgres import MAJOR_MIN, Installation, Postgres, installations, wheel

ROOT = Path(__file__).parents[1]


@pytest.fixture
def durable() -> Generator[Postgres]:
    with Postgres(is_durable=True) as postgres:
        yield postgres


def eventually(look: Callable[[], bool], within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def segments() -> set[str]:
    """Return the ids of the system's shared memory; empty where it doesn't show them."""
    listed = Path("/proc/sysvipc/shm")
    return {line.split()[1] for line in listed.read_text().splitlines()[1:]} if listed.exists() else set()


@pytest.mark.parametrize("installation", installations(), ids=lambda found: found.name)
def test_each_installation_gives_empty_databases_to_an_ordinary_owner(
    installation: Installation, postgres_of: Callable[[Installation], Postgres]
) -> None:
    postgres = postgres_of(installation)
    with postgres.database() as url, postgres.database() as other:

        async def use() -> list[object]:
            connection = await asyncpg.connect(url)
            try:
                await connection.execute("create schema stepwell")
                await connection.execute("create table stepwell.t (a text)")
                return list(
                    await connection.fetchrow(
                        "select current_setting('server_version_num')::int / 10000, rolsuper, current_database()"
                        " from pg_roles where rolname = current_user"
                    )
                    or ()
                )
            finally:
                await connection.close()

        major, is_superuser, name = asyncio.run(use())
        assert (major, is_superuser) == (installation.major, False)
        assert installation.major >= MAJOR_MIN
        assert url.endswith(f"/{name}")
        assert postgres.psql("select count(*) from pg_namespace where nspname = 'stepwell'", other) == ["0"]
    assert postgres.psql(f"select 1 from pg_database where datname = '{name}'") == []


def test_text_sorts_as_in_a_language_where_the_installation_can(
    postgres_of: Callable[[Installation], Postgres],
) -> None:
    for installation in installations():
        [is_binary] = postgres_of(installation).psql("select 'B' < 'a'")
        assert (is_binary == "t") == (installation.collation == "C")


def test_a_template_is_copied_with_its_rows(postgres: Postgres) -> None:
    with postgres.database() as template:
        postgres.psql("create table t as select 7 as a", template)
        with postgres.database(template=template) as url:
            assert postgres.psql("select a from t", url) == ["7"]


@pytest.mark.parametrize("end", ["kill", "immediate", "fast"])
def test_what_was_committed_is_there_after_any_end_and_start(durable: Postgres, end: str) -> None:
    url = durable.create_database()
    pid = durable.pid
    durable.psql("create table t (a int)", url)
    durable.psql("insert into t values (1), (2)", url)

    if end == "kill":
        durable.kill()
    else:
        durable.stop("immediate" if end == "immediate" else "fast")
    assert not durable.is_running
    with pytest.raises(AssertionError, match="refused"):
        durable.psql("select 1")
    durable.start()

    assert durable.pid != pid
    assert durable.psql("select sum(a) from t", url) == ["3"]
    assert durable.psql("show fsync; show full_page_writes; show synchronous_commit") == ["on", "on", "on"]


def test_clients_see_a_kill_as_a_broken_connection(durable: Postgres) -> None:
    async def wait_for_it() -> None:
        connection = await asyncpg.connect(durable.admin_url())
        asleep = asyncio.ensure_future(connection.execute("select pg_sleep(60)"))
        await asyncio.to_thread(durable.kill)
        with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
            await asyncio.wait_for(asleep, 20)

    asyncio.run(wait_for_it())


def test_a_paused_server_answers_nobody_until_it_is_resumed(durable: Postgres) -> None:
    async def ask() -> object:
        connection = await asyncpg.connect(durable.admin_url())
        try:
            asked = asyncio.ensure_future(connection.fetchval("select 1"))
            durable.pause()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(asked), 0.2)
            with pytest.raises(TimeoutError):
                await asyncpg.connect(durable.admin_url(), timeout=1)
            durable.resume()
            return await asyncio.wait_for(asked, 20)
        finally:
            await connection.close()

    assert asyncio.run(ask()) == 1


def test_new_sessions_have_the_settings_that_were_configured(durable: Postgres) -> None:
    durable.configure(default_transaction_read_only="on", statement_timeout="3000")
    assert durable.psql("show default_transaction_read_only; show statement_timeout") == ["on", "3s"]
    durable.configure(default_transaction_read_only="off")
    assert durable.psql("show default_transaction_read_only") == ["off"]


def test_two_servers_do_not_clash() -> None:
    with Postgres() as one, Postgres() as other:
        first, second = one.create_database(), other.create_database()
        one.psql("create table t (a int)", first)
        assert one.port != other.port
        assert other.psql("select count(*) from pg_class where relname = 't'", second) == ["0"]
        one.restart()
        assert other.psql("select 1") == ["1"]
        assert one.psql("select count(*) from t", first) == ["0"]


@pytest.mark.parametrize("state", ["running", "stopped", "killed", "paused"])
def test_nothing_remains_after_close(state: str) -> None:
    postgres = Postgres(settings={"max_connections": "10"})
    with postgres:
        assert postgres.psql("show max_connections") == ["10"]
        family = [psutil.Process(postgres.pid), *psutil.Process(postgres.pid).children()]
        [folder] = postgres.psql("show data_directory")
        segment = Path(folder, "postmaster.pid").read_text().split()[-2]
        {"running": lambda: None, "stopped": postgres.stop, "killed": postgres.kill, "paused": postgres.pause}[state]()
    assert not Path(folder).parent.exists()
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    assert segment not in segments()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", postgres.port))


def test_nothing_remains_when_the_test_process_is_killed() -> None:
    program = (
        "import sys; from tests.postgres import Postgres; postgres = Postgres(); postgres.start()\n"
        "print(postgres.pid, postgres.psql('show data_directory')[0], flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        pid, data = child.stdout.readline().split()
        assert psutil.pid_exists(int(pid))
        child.send_signal(signal.SIGKILL)
    workshop = Path(data).parents[1]
    assert eventually(lambda: not workshop.exists())
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs PostgreSQL as itself")
def test_programs_that_only_root_can_reach_are_run_all_the_same(tmp_path: Path) -> None:
    found = wheel()
    package = found.bin.parents[1]
    tmp_path.chmod(0o700)
    shutil.copytree(found.bin.parent, tmp_path / package.name / found.bin.parent.name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), tmp_path / f"{package.name}.libs")
    hidden = Installation(tmp_path / found.bin.relative_to(package.parent), found.version, found.has_icu)
    with Postgres(hidden) as postgres:
        assert postgres.psql("show server_version") == [found.version]
