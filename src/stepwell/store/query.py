"""Named queries: loads the ``.sql`` files beside this module and turns them into each driver's form.

A file holds several queries. Each starts with ``-- name: <name>``; a query over many rows has a second line,
``-- rows: <column> <type>, …``, and reads them as the relation ``v``: on SQLite ``values (?, …), …``, on PostgreSQL
``unnest`` over typed arrays. ``:name`` is a parameter, and ``:db_now`` the database's own time in Unix ms.

Files in ``sql/`` serve both databases; a query whose text must differ is in ``sql/sqlite/`` and ``sql/postgres/``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from stepwell.store.rows import Row

Dialect: TypeAlias = Literal["sqlite", "postgres"]

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ROWS: Final = re.compile(r"^-- rows: (.+(?:\n--   .+)*)$", re.MULTILINE)
_PARAMETER: Final = re.compile(r"(?<!:):([a-z_]+)")
_POSTGRES_NOW: Final = "(extract(epoch from clock_timestamp()) * 1000)::bigint"


class Statement(NamedTuple):
    """A query to be run, as the plans of the store yield it: by its name, with its rows and its parameters."""

    name: str
    rows: Sequence[Row] | None = None
    """What ``v`` holds; None for a query without it."""
    parameters: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Query(NamedTuple):
    """One named query: its text, the columns of ``v`` with their types, if it reads rows, and its parameters."""

    name: str
    text: str
    columns: tuple[tuple[str, str], ...]
    parameters: tuple[str, ...]
    """In the order in which the text names them."""

    def sqlite(self, row_count: int = 0) -> str:
        """Return the text with ``?`` for each parameter: those of the rows come first."""
        text = _PARAMETER.sub("?", self.text)
        if not self.columns:
            return text
        row = f"({', '.join('?' * len(self.columns))})"
        names = ", ".join(name for name, _ in self.columns)
        return _with(f"v({names}) as (values {', '.join([row] * row_count)})", text)

    def postgres(self) -> tuple[str, tuple[str, ...]]:
        """Return the text with ``$1`` for each parameter, an array for each column first, and the others' order."""
        names = tuple(dict.fromkeys(name for name in self.parameters if name != "db_now"))
        first = len(self.columns) + 1

        def form(found: re.Match[str]) -> str:
            return _POSTGRES_NOW if found[1] == "db_now" else f"${first + names.index(found[1])}"

        text = _PARAMETER.sub(form, self.text)
        if self.columns:
            arrays = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(self.columns, 1))
            columns = ", ".join(name for name, _ in self.columns)
            text = _with(f"v({columns}) as (select * from unnest({arrays}))", text)  # noqa: S608 - fixed pieces
        return text, names


def _with(rows: str, text: str) -> str:
    """Put the relation ``v`` before a text, which may have relations of its own."""
    recursive = "with recursive "
    if text.startswith(recursive):
        return f"{recursive}{rows}, {text.removeprefix(recursive)}"
    return f"with {rows}\n{text}"


@cache
def load_queries(dialect: Dialect) -> dict[str, Query]:
    """Load every query of a database, by name."""
    queries: dict[str, Query] = {}
    for folder in (files("stepwell.store.sql"), files(f"stepwell.store.sql.{dialect}")):
        for file in folder.iterdir():
            if file.name.endswith(".sql"):
                for query in parse_queries(file.read_text()):
                    assert query.name not in queries, f"two queries are named {query.name}"
                    queries[query.name] = query
    return queries


def parse_queries(source: str) -> list[Query]:
    """Take a file of named queries apart."""
    pieces = _NAME.split(source)[1:]
    return [_parse(name, body) for name, body in zip(pieces[::2], pieces[1::2], strict=True)]


def _parse(name: str, body: str) -> Query:
    rows = _ROWS.search(body)
    columns: tuple[tuple[str, str], ...] = ()
    if rows is not None:
        declared = rows.group(1).replace("\n--", " ").split(",")
        columns = tuple((column.split()[0], column.split()[1]) for column in declared)
    text = "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip().rstrip(";")
    return Query(name, text, columns, tuple(_PARAMETER.findall(text)))
