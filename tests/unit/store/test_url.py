"""Addresses of PostgreSQL: what is one, what is wrong with one, and what may be seen of one."""

from __future__ import annotations

import pytest

from stepwell.errors import ConfigError
from stepwell.store.url import check_url, each_host, is_url, shown_url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host",
        "postgres://host/db",
        "postgresql://user@host:5432/db",
        "postgresql://user:p%40ss@db.example.com/db?sslmode=require",
        "postgresql://u:p@h1:5432,h2:5433/db",
        "postgresql://u@h1,h2/db?target_session_attrs=primary",
        "postgresql://u:p@[::1]:5432/db",
        "postgresql://[::1],127.0.0.1/db",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://u@/db?host=/run/postgresql&port=5433",
        "postgresql://%2Frun%2Fpostgresql/db",
    ],
)
def test_an_address_is_accepted(url: str) -> None:
    assert is_url(url)
    check_url("--db", url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://host/db", "file or like postgresql://"),
        ("sqlite:///x.db", "file or like postgresql://"),
        ("postgresql+asyncpg://host/db", "file or like postgresql://"),
        ("POSTGRESQL://host/db", "file or like postgresql://"),
        ("postgresql:host/db", "file or like postgresql://"),
        ("postgresql:///db", "names no host"),
        ("postgresql://u:secret@/db", "names no host"),
        ("postgresql:///db?host=", "names no host"),
        ("postgresql://h1,,h2/db", "a host is not"),
        ("postgresql://:5432/db", "a host is not"),
        ("postgresql://::1/db", "a host is not"),
        ("postgresql://host:port/db", "a host is not"),
        ("postgresql://host:0/db", "a port is not"),
        ("postgresql://host:65536/db", "a port is not"),
        ("postgresql://[::1/db", "can't be read"),
        ("postgresql://host/db?sslmode", "can't be read"),
        ("postgresql://u:secr@et@host/db", "more than one user"),
        ("postgresql://u:sec:ret@host/db", "more than one user"),
        ("postgresql://u:secr#et@host/db", "has a #"),
        ("postgresql://u:sec/ret@host/db", "a host is not"),
        ("postgresql://u:sec?ret@host/db", "can't be read"),
    ],
)
def test_what_is_wrong_with_an_address_is_said_without_its_password(url: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_url("--db-listen", url)

    assert str(refused.value).startswith("--db-listen must be ")
    assert why in str(refused.value)
    assert "sec" not in str(refused.value).replace("a socket's", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("postgresql://user:secret@h1:5432,h2:5432/db", "postgresql://user:***@h1:5432,h2:5432/db"),
        ("postgresql://user:@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user:se@cr/et#@host/db", "postgresql://user:***@host/db"),
        (
            "postgresql://host/db?password=secret&sslmode=require&sslpassword=secret",
            "postgresql://host/db?password=***&sslmode=require&sslpassword=***",
        ),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize("path", ["stepwell.db", "/var/lib/stepwell.db", "postgresql", "postgres.db", "a:b"])
def test_a_file_is_no_address(path: str) -> None:
    assert not is_url(path)


@pytest.mark.parametrize(
    ("url", "each"),
    [
        ("postgresql://p", ["postgresql://p"]),
        ("postgresql://u:p%40@h:1/db?sslmode=require", ["postgresql://u:p%40@h:1/db?sslmode=require"]),
        ("postgresql://u:p@h1:1,h2/db?x=1", ["postgresql://u:p@h1:1/db?x=1", "postgresql://u:p@h2/db?x=1"]),
        ("postgres://[::1]:5,h2", ["postgres://[::1]:5", "postgres://h2"]),
        ("postgresql:///db?host=/run/pg", ["postgresql:///db?host=%2Frun%2Fpg"]),
        (
            "postgresql://u@/db?host=a,b&port=1,2&x=y",
            ["postgresql://u@/db?host=a&port=1&x=y", "postgresql://u@/db?host=b&port=2&x=y"],
        ),
        ("postgresql:///db?port=5&host=a,b", ["postgresql:///db?host=a&port=5", "postgresql:///db?host=b&port=5"]),
        ("postgresql:///db?host=a,b", ["postgresql:///db?host=a", "postgresql:///db?host=b"]),
    ],
)
def test_each_host_has_an_address_of_its_own(url: str, each: list[str]) -> None:
    assert each_host(url) == each
