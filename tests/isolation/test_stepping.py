"""The stepper itself: it finds what goes wrong in one order alone, and leaves out no order that differs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from stepwell.store.postgres_link import run_statement
from stepwell.store.read import Text
from tests.isolation.stepping import Order, Schema, Step
from tests.isolation.world import Case, SteppedStore, World
from tests.store.database import Worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

Given = Callable[[World], Awaitable[Case]]


async def transact(worker: Worker, *statements: Text | Callable[[Any], Text]) -> Any:
    """Run statements in one transaction, each made from what the one before returned; return the last's rows."""
    store = worker.store
    assert isinstance(store, SteppedStore)

    async def work(connection: Any) -> Any:
        rows: Any = None
        for statement in statements:
            rows = await run_statement(statement(rows) if callable(statement) else statement, connection)
        return rows

    return await store._transact(None, work)


async def counter(world: World) -> list[Worker]:
    workers = await world.replicas("one", "two")
    await world.rows("insert into setting values ('a', '0'), ('b', '0')")
    return workers


def value(key: str = "a", suffix: str = "") -> Text:
    return Text(f"select value from setting where key = ?{suffix}", (key,))


def put_next(rows: Any) -> Text:
    return Text("update setting set value = ? where key = 'a'", (str(int(rows[0][0]) + 1),))


def bump(key: str) -> Text:
    return Text("update setting set value = (value::int + 1)::text where key = ?", (key,))


def counting(read: Text, ends: list[str]) -> Given:
    """Both sides read a counter, and write the next number."""

    async def given(world: World) -> Case:
        one, two = await counter(world)

        async def promise(_order: Order) -> None:
            ends.extend(row[0] for row in await world.rows("select value from setting where key = 'a'"))

        return Case([lambda: transact(one, read, put_next), lambda: transact(two, read, put_next)], promise)

    return given


async def test_a_lost_update_is_found(world: World) -> None:
    ends: list[str] = []

    await world.play(counting(value(), ends))

    assert set(ends) == {"1", "2"}


async def test_a_lock_keeps_it_from_happening(world: World) -> None:
    ends: list[str] = []

    await world.play(counting(value(suffix=" for update"), ends))

    assert set(ends) == {"2"}


async def test_a_step_that_waits_for_a_lock_lets_the_others_go_on(world: World) -> None:
    logs: list[list[str]] = []

    async def given(world: World) -> Case:
        one, two = await counter(world)

        async def promise(order: Order) -> None:
            logs.append([line for line in order.log if ": " not in line or "commit" in line])

        return Case([lambda: transact(one, bump("a")), lambda: transact(two, bump("a"))], promise)

    await world.play(given)

    assert ["two waits", "one: commit", "two goes on", "two: commit"] in logs
    assert ["one waits", "two: commit", "one goes on", "one: commit"] in logs


async def test_the_victim_of_a_deadlock_begins_anew(world: World) -> None:
    deadlocks: list[int] = []

    async def given(world: World) -> Case:
        one, two = await counter(world)

        async def promise(order: Order) -> None:
            deadlocks.append(order.deadlock_count)
            assert await world.rows("select value from setting") == [("2",), ("2",)]

        sides = [lambda: transact(one, bump("a"), bump("b")), lambda: transact(two, bump("b"), bump("a"))]
        return Case(sides, promise, may_deadlock=True)

    await world.play(given)

    assert 1 in deadlocks
    assert 0 in deadlocks


async def test_a_deadlock_that_is_not_announced_is_a_broken_promise(world: World) -> None:
    async def given(world: World) -> Case:
        one, two = await counter(world)

        async def promise(_order: Order) -> None:
            pass

        sides = [lambda: transact(one, bump("a"), bump("b")), lambda: transact(two, bump("b"), bump("a"))]
        return Case(sides, promise)

    with pytest.raises(AssertionError, match="the order of locks was not kept"):
        await world.play(given)


@pytest.mark.parametrize(("is_pruned", "count"), [(False, 20), (True, 1)])
async def test_of_orders_that_cannot_differ_one_is_played(world: World, is_pruned: bool, count: int) -> None:
    async def given(world: World) -> Case:
        one, two = await counter(world)
        await world.rows("insert into environment values ('dev', 'dev', 0, 0)")
        elsewhere = Text("update environment set revision = revision + 1", ())

        async def promise(_order: Order) -> None:
            assert await world.rows("select value, revision from setting, environment where key = 'a'") == [("2", 2)]

        sides = [lambda: transact(one, bump("a"), bump("a")), lambda: transact(two, elsewhere, elsewhere)]
        return Case(sides, promise)

    walk = await world.play(given, is_pruned=is_pruned)

    assert (walk.order_count, walk.is_whole) == (count, True)


async def test_orders_can_be_drawn(world: World) -> None:
    ends: list[str] = []

    walk = await world.play(counting(value(), ends), is_pruned=False, orders_max=60, chance=Random(1))

    assert (walk.order_count, walk.is_whole) == (60, False)
    assert set(ends) == {"1", "2"}


async def test_a_failure_names_its_order(world: World) -> None:
    async def given(world: World) -> Case:
        one, two = await counter(world)

        async def promise(_order: Order) -> None:
            raise AssertionError("no")

        return Case([lambda: transact(one, bump("a")), lambda: transact(two, bump("b"))], promise)

    with pytest.raises(AssertionError, match="no") as caught:
        await world.play(given)

    [note] = caught.value.__notes__
    assert note.startswith("in this order:\n  one: update setting")
    assert note.endswith("two: commit")


# -- what commutes --------------------------------------------------------------------------------------------------

SCHEMA = Schema(
    {"replica": frozenset(), "run": frozenset(), "app": frozenset(), "function": frozenset({"app"})}, names={}
)


@pytest.mark.parametrize(
    ("text", "reads", "writes", "shares"),
    [
        ("select id from run", {"run"}, set(), set()),
        ("select id from run where id = 1 for no key update of run", {"run"}, {"run"}, set()),
        ("select id from run limit 1 for update skip locked", {"run"}, {"run"}, set()),
        (
            "select id from replica left join run on true for key share of replica",
            {"replica", "run"},
            set(),
            {"replica"},
        ),
        ("delete from run using v where run.id = v.id", {"run"}, {"run"}, set()),
        ("insert into run select 1 from app on conflict do update set id = 1", {"run", "app"}, {"run"}, set()),
        ("insert into function values (1)", {"function"}, {"function"}, {"app"}),
    ],
)
async def test_it_is_known_what_a_statement_touches(
    text: str, reads: set[str], writes: set[str], shares: set[str]
) -> None:
    step = SCHEMA.step(text)

    assert (step.reads, step.writes, step.shares) == (reads, writes, shares)


READ = Step("read", reads=frozenset({"run"}))
WRITE = Step("write", reads=frozenset({"run"}), writes=frozenset({"run"}))
KEEP = Step("keep", reads=frozenset({"run"}), shares=frozenset({"run"}))
ELSEWHERE = Step("elsewhere", reads=frozenset({"app"}), writes=frozenset({"app"}))


@pytest.mark.parametrize(
    ("one", "two", "commutes"),
    [
        (READ, WRITE, True),
        (WRITE, WRITE, False),
        (WRITE, KEEP, False),
        (KEEP, KEEP, True),
        (WRITE, ELSEWHERE, True),
        (WRITE._replace(is_commit=True), READ, False),
        (WRITE._replace(is_commit=True), ELSEWHERE, True),
        (READ._replace(is_commit=True), WRITE, True),
        (KEEP._replace(is_commit=True), WRITE, False),
        (KEEP._replace(is_commit=True), KEEP, True),
        (WRITE._replace(is_commit=True), WRITE._replace(is_commit=True), True),
    ],
)
async def test_steps_commute_unless_they_meet_at_a_lock_or_one_sees_the_others_commit(
    one: Step, two: Step, commutes: bool
) -> None:
    assert one.commutes(two) is commutes
    assert two.commutes(one) is commutes
