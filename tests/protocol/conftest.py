"""One server of each kind for the whole suite; every test has apps of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.harness import Server, pytest_runtest_makereport
from tests.protocol.world import World, serving

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A dev server and an app."""
    with Server(tmp_path_factory.mktemp("dev"), "dev", "--no-poll") as server, serving(server) as made:
        yield made


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A production server and an app."""
    with Server(tmp_path_factory.mktemp("start"), "start") as server, serving(server) as made:
        yield made
