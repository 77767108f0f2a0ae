"""Each pair of verbs that can touch the same rows keeps its promise in every order of their statements.

A pair is a function in one of the ``pairs_of_….py``: it makes the rows, and returns what the two sides do and what is
promised of the end. Promises that hold for all of them are in ``world.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import pytest

from tests.isolation import (
    pairs_of_events,
    pairs_of_flow,
    pairs_of_replicas,
    pairs_of_retention,
    pairs_of_runs,
    pairs_of_waits,
)
from tests.isolation.world import Case, World

PAIRS: Final = [
    pytest.param(given, id=given.__name__)
    for module in (pairs_of_runs, pairs_of_replicas, pairs_of_events, pairs_of_waits, pairs_of_flow, pairs_of_retention)
    for given in module.PAIRS
]
LITERAL_ORDERS_MAX, DRAWN_ORDERS = 1200, 500


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("given", PAIRS)
async def test_every_order_keeps_the_promise(world: World, given: Callable[[World], Awaitable[Case]]) -> None:
    walk = await world.play(given)

    assert walk.is_whole
    assert walk.order_count > 1, "the sides never meet: this tests nothing"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("given", PAIRS)
async def test_orders_that_are_left_out_end_like_others(
    world: World, given: Callable[[World], Awaitable[Case]]
) -> None:
    """All orders literally, where they are few enough, else some that are drawn: none ends in a way of its own."""
    await world.play(given)
    expected = world.outcomes

    walk = await world.play(given, is_pruned=False, orders_max=LITERAL_ORDERS_MAX)
    if walk.is_whole:
        assert world.outcomes == expected
    else:
        assert world.outcomes <= expected
        await world.play(given, is_pruned=False, orders_max=DRAWN_ORDERS, chance=Random(given.__name__))
        assert world.outcomes <= expected
