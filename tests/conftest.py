"""Settings of the whole suite, and its PostgreSQL. Other fixtures live with the tests that use them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import ExitStack

import hypothesis
import pytest

from tests.postgres import Installation, Postgres, wheel

# The machine's load must not decide whether a property holds; pytest's time-out ends what hangs.
hypothesis.settings.register_profile(
    "ours", hypothesis.settings.get_profile(hypothesis.settings.get_current_profile_name()), deadline=None
)
hypothesis.settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --long."""
    parser.addoption("--long", action="store_true", help="run the tests marked long, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked long, unless --long asks for them."""
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(scope="session")
def postgres_of() -> Generator[Callable[[Installation], Postgres]]:
    """The quick server of an installation, for all tests of this process; it starts when it is first asked for."""
    with ExitStack() as stack:

        @functools.cache
        def started(installation: Installation) -> Postgres:
            return stack.enter_context(Postgres(installation, collation=installation.collation))

        yield started


@pytest.fixture(scope="session")
def postgres(postgres_of: Callable[[Installation], Postgres]) -> Postgres:
    """The quick server of the default version."""
    return postgres_of(wheel())


@pytest.fixture
def postgres_url(postgres: Postgres) -> Generator[str]:
    """A database of the test's own, empty."""
    with postgres.database() as url:
        yield url
