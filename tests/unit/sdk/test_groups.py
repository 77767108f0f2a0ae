"""Groups of steps at the same time: nested, found in another order in each call, and of one name many times."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from typing import Any

import pytest

from stepwell import Step, SyncStep
from tests.unit.sdk.pretend import PretendRun, new_app

KINDS = [False, True]
ORDERS = [0, 1, 2]


@pytest.mark.parametrize("is_plain", KINDS, ids=["async", "plain"])
@pytest.mark.parametrize("has_joins", [True, False], ids=["version 2", "version 1"])
@pytest.mark.parametrize("seed", ORDERS)
async def test_steps_that_are_found_in_another_order_in_each_call_keep_their_results(
    is_plain: bool, has_joins: bool, seed: int
) -> None:
    sw = new_app()
    chance = random.Random(seed)
    orders: set[tuple[str, ...]] = set()

    def shuffled() -> list[str]:
        names = list("abcd")
        chance.shuffle(names)
        orders.add(tuple(names))
        return names

    @sw.function("async", on="test/event")
    async def f(step: Step) -> Any:
        names = shuffled()
        found = await asyncio.gather(*(step.run(name, name.upper) for name in names))
        return sorted(zip(names, found, strict=True))

    @sw.function("plain", on="test/event")
    def g(step: SyncStep) -> Any:
        names = shuffled()
        found = step.parallel([lambda name=name: step.run(name, name.upper) for name in names])
        return sorted(zip(names, found, strict=True))

    run = PretendRun(sw, "plain" if is_plain else "async", is_sync=is_plain, has_joins=has_joins, pick=chance.randrange)

    assert (await run.end()).body == [["a", "A"], ["b", "B"], ["c", "C"], ["d", "D"]]
    assert len(orders) > 1


@pytest.mark.parametrize("is_plain", KINDS, ids=["async", "plain"])
@pytest.mark.parametrize("has_joins", [True, False], ids=["version 2", "version 1"])
@pytest.mark.parametrize("seed", ORDERS)
async def test_groups_in_groups_of_one_name_give_each_step_its_own_result_and_run_it_once(
    is_plain: bool, has_joins: bool, seed: int
) -> None:
    """Three levels of two branches, each a step, a group, and a step more: all by the same name."""
    sw = new_app()
    ran: Counter[str] = Counter()

    def body(path: str) -> str:
        ran[path] += 1
        return path

    @sw.function("async", on="test/event")
    async def f(step: Step) -> Any:
        async def branch(path: str) -> Any:
            before = await step.run("same", body, f"{path}<")
            inside = await asyncio.gather(*(branch(path + name) for name in "xy")) if len(path) < 2 else []
            return [before, *itertools.chain(*inside), await step.run("same", body, f"{path}>")]

        return await branch("")

    @sw.function("plain", on="test/event")
    def g(step: SyncStep) -> Any:
        def branch(path: str) -> Any:
            before = step.run("same", body, f"{path}<")
            inside = step.parallel([lambda n=name: branch(path + n) for name in "xy"]) if len(path) < 2 else []
            return [before, *itertools.chain(*inside), step.run("same", body, f"{path}>")]

        return branch("")

    run = PretendRun(
        sw,
        "plain" if is_plain else "async",
        is_sync=is_plain,
        has_joins=has_joins,
        pick=random.Random(seed).randrange,
    )

    def expected(path: str) -> list[str]:
        inside = [expected(path + name) for name in "xy"] if len(path) < 2 else []
        return [f"{path}<", *itertools.chain(*inside), f"{path}>"]

    assert (await run.end()).body == expected("")
    assert set(ran.values()) == {1}
    assert len(ran) == 14


@pytest.mark.parametrize("is_plain", KINDS, ids=["async", "plain"])
async def test_a_name_may_be_used_hundreds_of_times_in_a_group(is_plain: bool) -> None:
    sw = new_app()

    @sw.function("async", on="test/event")
    async def f(step: Step) -> Any:
        return await asyncio.gather(*(step.run("n", lambda n=n: n) for n in range(300)))

    @sw.function("plain", on="test/event")
    def g(step: SyncStep) -> Any:
        return step.parallel([lambda n=n: step.run("n", lambda: n) for n in range(300)])

    run = PretendRun(sw, "plain" if is_plain else "async", is_sync=is_plain)
    found = await run.call()
    assert len({op.id for op in found.ops}) == 300

    # Each is called for by itself, in any order, and gives its own result.
    for index in (299, 0, 150):
        answer = await run.call(found.ops[index].id)
        assert answer.body[0]["data"] == index
