"""Failed tests show the output of their processes, and kill tests name their seed."""

from __future__ import annotations

import os
import random

import pytest

from tests.e2e.chaos import say
from tests.e2e.harness import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture
def seed() -> int:
    """Another one each time, unless one is asked for."""
    found = int(os.environ.get("STEPWELL_SEED") or random.SystemRandom().randrange(1_000_000))
    say(f"STEPWELL_SEED={found}")
    return found
