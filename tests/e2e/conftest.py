"""Failed tests show the output of their processes."""

from __future__ import annotations

from tests.e2e.harness import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]
