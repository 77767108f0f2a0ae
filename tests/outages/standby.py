"""A standby: a second PostgreSQL that follows a first one, and can take its place."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.postgres import Postgres, _programs, _run_as_account, _wait

REPLICATING = {"synchronous_commit": "on", "wal_level": "replica", "max_wal_senders": "4"}
"""Settings of a quick server that another one can follow, and whose commits survive its processes."""


class Standby(Postgres):
    """Made from a running primary, whose roles and databases it has."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__(primary.installation, settings=REPLICATING)
        own = (self._data / "postgresql.conf").read_text()
        for path in self._data.iterdir():
            _run_as_account("rm", "-rf", path)
        _run_as_account(
            _programs(primary.installation) / "pg_basebackup",
            *("--pgdata", self._data, "--dbname", primary.admin_url()),
            *("--checkpoint", "fast", "--wal-method", "stream", "--write-recovery-conf", "--no-sync"),
        )
        (self._data / "postgresql.conf").write_text(own)  # the primary's was copied, with its port

    def promote(self) -> None:
        """Make it a primary, and wait until it is."""
        self.psql("select pg_promote(true, 20)")
        _wait(lambda: self.psql("select pg_is_in_recovery()") == ["f"], "it is a primary", within_s=20, detail=self.log)

    def url_of(self, url: str) -> str:
        """Return the address here of a database of the primary."""
        return url.replace(f":{urlsplit(url).port}/", f":{self.port}/")

    def _furnish(self) -> None:
        """Leave it as it is: it has the roles of the primary."""
