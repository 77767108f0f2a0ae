"""Where the database is: flags that ``dev``, ``start`` and ``migrate`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stepwell.cli.client import fail


def option(flag: str, *names: str, text: str, **more: Any) -> Any:
    """Declare a flag that ``STEPWELL_<FLAG>`` and the protocol's ``INNGEST_<FLAG>`` (12.2) stand for as well."""
    name = flag.partition("/")[0].removeprefix("--").replace("-", "_").upper()
    variables = [f"STEPWELL_{name}", f"INNGEST_{name}"]
    return typer.Option(flag, *names, envvar=variables, show_envvar=False, help=text, **more)


Db = Annotated[
    str | None,
    option(
        "--db",
        metavar="FILE|URL",
        text="The SQLite file, or postgresql://user:password@host/database. [default: .stepwell/stepwell.db]",
    ),
]
DbSchema = Annotated[
    str | None,
    option("--db-schema", metavar="NAME", text="Where PostgreSQL has the tables. [default: stepwell]"),
]
DbPooled = Annotated[
    bool, option("--db-pooled", text="A proxy that hands out connections by the transaction stands before PostgreSQL.")
]
DbListen = Annotated[
    str | None,
    option("--db-listen", metavar="URL", text="PostgreSQL's own address, to be notified, where --db is such a proxy."),
]
DbConnections = Annotated[
    int | None, option("--db-connections", metavar="N", text="Connections to PostgreSQL. [default: 6]")
]
TakeOver = Annotated[
    str | None,
    option("--take-over", metavar="TIME", text="A replica that is silent so long is dead. [default: 10s]"),
]


def database(
    db: str | None,
    *,
    schema: str | None = None,
    is_pooled: bool = False,
    listen: str | None = None,
    connections: int | None = None,
    take_over: str | None = None,
) -> dict[str, Any]:
    """Return the settings that flags give, which are checked with the rest."""
    from stepwell.store.url import is_url

    given = {
        "db": db if db is None or is_url(db) else Path(db),
        "db_schema": schema,
        "db_listen": listen or None,
        "db_connections": connections,
        "take_over_s": None if take_over is None else seconds("--take-over", take_over),
    }
    return {"is_db_pooled": is_pooled} | {name: value for name, value in given.items() if value is not None}


def seconds(flag: str, text: str) -> float:
    """Read ``10s``, ``1m`` or a number of seconds, or end the command."""
    from stepwell.errors import DurationError
    from stepwell.protocol.duration import duration_ms

    try:
        return duration_ms(f"{text}s" if text.replace(".", "", 1).isdecimal() else text) / 1000
    except DurationError as error:
        fail(f"{flag}: {error}", status=2)
