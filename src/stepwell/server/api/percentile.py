"""Percentiles of what was measured, by the nearest rank."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(ordered: Sequence[int], share: float) -> int | None:
    """Return the least of some rising numbers that so large a share of them doesn't exceed; None where there is none."""
    if not ordered:
        return None
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]
