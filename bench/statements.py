"""How many statements a server sends to PostgreSQL, read from PostgreSQL's own log while a block runs.

The log needs no extension, which the wheel's PostgreSQL hasn't, and names the statements, too. It slows things down, so
nothing else is measured meanwhile.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from tests.postgres import Postgres

LOG_SETTINGS: Final = {"log_line_prefix": "db=%d "}
"""Of a server whose statements are to be counted."""


@contextmanager
def counted(postgres: Postgres, url: str) -> Generator[Counter[str]]:
    """Count the statements that a database is sent in the block, by their text in one line; filled when it ends."""
    found: Counter[str] = Counter()
    postgres.configure(log_statement="all")
    begin = postgres.log_path.stat().st_size
    try:
        yield found
    finally:
        postgres.configure(log_statement="none")
    with postgres.log_path.open("rb") as file:
        file.seek(begin)
        text = file.read().decode(errors="replace")
    name = re.escape(urlsplit(url).path.removeprefix("/"))
    # A statement of several lines goes on in lines that begin with a tab.
    entry = re.compile(rf"^db={name} LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)", re.MULTILINE)
    found.update(" ".join(statement.split()) for statement in entry.findall(text))
