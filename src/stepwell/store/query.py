"""Named queries: loads the ``.sql`` files beside this module and turns ``:name`` into the driver's form.

A file holds several queries. Each starts with ``-- name: <name>``; a query over many rows has a second line,
``-- rows: <column> <type>, …``, and reads them as the relation ``v``. The same text serves both databases: here ``v``
becomes ``values (?, …), …``; on PostgreSQL it becomes ``unnest`` over typed arrays.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ROWS: Final = re.compile(r"^-- rows: (.+(?:\n--   .+)*)$", re.MULTILINE)
_PARAMETER: Final = re.compile(r"(?<!:):([a-z_]+)")


class Query(NamedTuple):
    """One named query: its text with ``?`` for each parameter, in the order of ``parameters``."""

    name: str
    text: str
    parameters: tuple[str, ...]
    columns: tuple[str, ...]
    """The columns of ``v``, or nothing for a query that takes no rows."""

    def over(self, row_count: int) -> str:
        """Return the text for a number of rows: their values come before the other parameters."""
        row = f"({', '.join('?' * len(self.columns))})"
        return f"with v({', '.join(self.columns)}) as (values {', '.join([row] * row_count)})\n{self.text}"


@cache
def load_queries() -> dict[str, Query]:
    """Load every query of the package, by name."""
    queries: dict[str, Query] = {}
    for file in files("stepwell.store.sql").iterdir():
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
    columns: tuple[str, ...] = ()
    if rows is not None:
        declared = rows.group(1).replace("\n--", " ")
        columns = tuple(column.split()[0] for column in declared.split(","))
    text = "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip().rstrip(";")
    return Query(
        name=name,
        text=_PARAMETER.sub("?", text),
        parameters=tuple(_PARAMETER.findall(text)),
        columns=columns,
    )
