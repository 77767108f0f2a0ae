from __future__ import annotations

from tools import api_types


def test_the_dashboard_s_types_are_those_of_the_api():
    made = api_types.TARGET.read_text()
    assert made == api_types.typescript(), "run: python -m tools.api_types"
