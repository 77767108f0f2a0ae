"""A server for each test."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.server.world import PRODUCTION, World, running


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    """A dev server."""
    async with running(tmp_path) as made:
        yield made


@pytest.fixture
async def production(tmp_path: Path) -> AsyncGenerator[World]:
    """A production server, whose client has an API token."""
    async with running(tmp_path, PRODUCTION) as made:
        yield made
