"""Named queries: how the files are taken apart, and what a query becomes on SQLite."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files

from stepwell.store.query import load_queries, parse_queries

SOURCE = """-- Text before the first query is for people.

-- name: plain
-- Why it is so.
select a
from t
where b = :b -- a comment that stays
  and c = :a_value
  and d = :b;

-- name: over_rows
-- rows: id text, n bigint,
--   body bytea
-- Another why.
insert into t (id, n, body)
select v.id, v.n, v.body
from v
where v.n > :least
returning id
"""


def test_a_query_has_its_parameters_in_the_order_of_their_use() -> None:
    plain, _ = parse_queries(SOURCE)

    assert plain.name == "plain"
    assert plain.parameters == ("b", "a_value", "b")
    assert plain.columns == ()
    assert plain.text == "select a\nfrom t\nwhere b = ? -- a comment that stays\n  and c = ?\n  and d = ?"


def test_a_query_over_rows_reads_them_as_v() -> None:
    _, query = parse_queries(SOURCE)

    assert query.columns == ("id", "n", "body")
    assert query.parameters == ("least",)
    assert query.over(2).startswith("with v(id, n, body) as (values (?, ?, ?), (?, ?, ?))\ninsert into t")


def test_a_query_over_rows_runs() -> None:
    _, query = parse_queries(SOURCE)
    db = sqlite3.connect(":memory:")
    db.execute("create table t (id text, n integer, body blob)")

    rows = db.execute(query.over(3), ["a", 1, b"", "b", 2, b"", "c", 3, b"", 1]).fetchall()
    db.close()

    assert rows == [("b",), ("c",)]


def test_casts_are_no_parameters() -> None:
    [query] = parse_queries("-- name: q\nselect :a::bigint\n")

    assert query.parameters == ("a",)


def test_every_query_of_the_package_is_loaded_and_used() -> None:
    sources = "".join(file.read_text() for file in files("stepwell.store").iterdir() if file.name.endswith(".py"))

    for name in load_queries():
        assert f'"{name}"' in sources, f"nothing uses the query {name}"


def test_the_shared_text_has_no_parameters_left() -> None:
    for query in load_queries().values():
        assert re.search(r"(?<!:):[a-z]", query.text) is None
