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
    assert plain.sqlite() == "select a\nfrom t\nwhere b = ? -- a comment that stays\n  and c = ?\n  and d = ?"


def test_a_query_over_rows_reads_them_as_v() -> None:
    _, query = parse_queries(SOURCE)

    assert query.columns == (("id", "text"), ("n", "bigint"), ("body", "bytea"))
    assert query.parameters == ("least",)
    assert query.sqlite(2).startswith("with v(id, n, body) as (values (?, ?, ?), (?, ?, ?))\ninsert into t")


def test_a_query_over_rows_runs() -> None:
    _, query = parse_queries(SOURCE)
    db = sqlite3.connect(":memory:")
    db.execute("create table t (id text, n integer, body blob)")

    rows = db.execute(query.sqlite(3), ["a", 1, b"", "b", 2, b"", "c", 3, b"", 1]).fetchall()
    db.close()

    assert rows == [("b",), ("c",)]


def test_casts_are_no_parameters() -> None:
    [query] = parse_queries("-- name: q\nselect :a::bigint\n")

    assert query.parameters == ("a",)


def test_on_postgresql_rows_are_arrays_and_a_parameter_has_one_number() -> None:
    plain, query = parse_queries(SOURCE)

    text, names = plain.postgres()
    assert (text.splitlines()[2:], names) == (
        ["where b = $1 -- a comment that stays", "  and c = $2", "  and d = $1"],
        ("b", "a_value"),
    )
    text, names = query.postgres()
    assert text.startswith("with v(id, n, body) as (select * from unnest($1::text[], $2::bigint[], $3::bytea[]))")
    assert "where v.n > $4" in text
    assert names == ("least",)


def test_the_databases_own_time_is_no_parameter_on_postgresql() -> None:
    [query] = parse_queries("-- name: q\nselect :db_now, :a\n")

    text, names = query.postgres()

    assert "clock_timestamp()" in text
    assert text.endswith("$1")
    assert names == ("a",)
    assert query.parameters == ("db_now", "a")


def test_both_databases_have_the_same_queries() -> None:
    assert set(load_queries("sqlite")) == set(load_queries("postgres"))
    for name, query in load_queries("sqlite").items():
        assert query.columns == load_queries("postgres")[name].columns, name


def test_every_query_of_the_package_is_loaded_and_used() -> None:
    sources = "".join(file.read_text() for file in files("stepwell.store").iterdir() if file.name.endswith(".py"))

    for name in load_queries("sqlite"):
        assert f'"{name}"' in sources, f"nothing uses the query {name}"


def test_no_text_has_parameters_left() -> None:
    for name, query in load_queries("sqlite").items():
        for text in (query.sqlite(1), load_queries("postgres")[name].postgres()[0]):
            assert re.search(r"(?<!:):[a-z]", text) is None
