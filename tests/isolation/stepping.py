"""Runs two or three sides of a race on real PostgreSQL in every order of their steps.

A *side* is a coroutine that uses the store. Its connection stops it before each statement and before each commit, and
the stepper says whose turn it is. What is taken is one step: the statement, and what the side computes after it.

- A step that has to wait for a lock stays pending (PostgreSQL is asked who blocks it), and the others go on; it goes on
  by itself when it can. A deadlock's victim begins its transaction anew, since the store does.
- Names and keys that a transaction locks (``store/locks.py``) are like tables that it writes, or shares, and nobody reads.
- ``begin`` is no step: a transaction sees and locks nothing before its first statement. A transaction that only reads is
  one step: all of it sees what its first statement saw.
- The orders are a tree, walked depth first; each is played from the same rows.

**Orders that can't differ are played once.** Under READ COMMITTED a statement sees what was committed before it began
and its own transaction's work, nothing else. So two statements of two open transactions can only meet at a lock: they
commute unless one writes (or locks) a table in which the other writes or locks. A commit commutes with a statement that
reads nothing of what the transaction wrote, and with another commit. By *sleep sets* (Godefroid, 1996): when all orders
that begin with step ``x`` have been walked, the orders that begin with ``y`` leave out those in which ``x`` follows before
anything that it doesn't commute with. ``is_pruned=False`` walks all; a test compares the outcomes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final, NamedTuple

import asyncpg

from stepwell.store.interface import Fenced
from stepwell.store.query import Query
from stepwell.store.rows import Row

_LOOK_AFTER_S: Final = 0.002
"""A statement that takes longer is asked after: it may wait for a lock."""
_DEADLINE_S: Final = 20.0
_WRITES: Final = re.compile(r"\b(?:insert into|update|delete from) (\w+)")
_LOCKS: Final = re.compile(r"\bfor (?:no key )?update(?: of (\w+))?")
_NAMED_LOCKS: Final = "pg_advisory_xact_lock"
_SHARES: Final = re.compile(r"\bfor (?:key )?share(?: of (\w+))?")


class Step(NamedTuple):
    """What a side does next: a statement, or the end of its transaction; with the tables that it touches."""

    name: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    """Where it writes rows or locks them against all others."""
    shares: frozenset[str] = frozenset()
    """Where it only keeps rows from being deleted."""
    is_commit: bool = False
    """Then the tables are those of the whole transaction."""

    def commutes(self, other: Step) -> bool:
        """Tell whether it makes no difference which of two sides' next steps comes first, while nobody waits."""
        if self.is_commit and other.is_commit:
            return True
        if self.is_commit or other.is_commit:
            commit, statement = (self, other) if self.is_commit else (other, self)
            if commit.writes & statement.reads:
                return False
        return not (self.writes & (other.writes | other.shares) or self.shares & other.writes)

    def with_(self, other: Step) -> Step:
        """Add what another step touches."""
        return self._replace(
            reads=self.reads | other.reads, writes=self.writes | other.writes, shares=self.shares | other.shares
        )


class Schema(NamedTuple):
    """What the stepper knows of the tables, to tell what a statement touches."""

    references: Mapping[str, frozenset[str]]
    """The tables; and those that the foreign keys of each refer to: writing there locks rows here."""
    names: Mapping[str, str]
    """The names of queries by their texts."""

    @classmethod
    async def of(cls, connection: Any, queries: Iterable[Query]) -> Schema:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = current_schema()")
        references: dict[str, frozenset[str]] = {row[0]: frozenset() for row in tables}
        keys = await connection.fetch(
            "select distinct conrelid::regclass::text, confrelid::regclass::text from pg_constraint where contype = 'f'"
        )
        for table, other in keys:
            references[table] |= {other}
        return cls(references, {query.postgres()[0]: query.name for query in queries})

    def step(self, text: str) -> Step:
        """Tell what a statement does."""
        reads = frozenset(re.findall(r"\w+", text)) & self.references.keys()
        writes = set(_WRITES.findall(text))
        for found in _LOCKS.findall(text):
            writes |= {found} & reads or reads
        shares = {table for written in writes & reads for table in self.references[written]}
        for found in _SHARES.findall(text):
            shares |= {found} & reads or reads
        return Step(self.names.get(text, text), reads, frozenset(writes) & reads, frozenset(shares))


class Side:
    """One side of a race: where it stands, and the gate that stops it before each step."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.next: Step | None = None
        """What it does when it gets its turn; None while it is at it, and after the end."""
        self.is_armed = False
        self.pid = 0
        self.deadlock_count = 0
        self.paused = asyncio.Event()
        """It waits for its turn, or has ended."""
        self._turn: asyncio.Future[None] | None = None
        self._work: asyncio.Task[Any] | None = None

    @property
    def has_ended(self) -> bool:
        return self._work is not None and self._work.done()

    def start(self, work: Callable[[], Awaitable[Any]]) -> None:
        self.is_armed, self.deadlock_count = True, 0
        self.paused.clear()
        self._work = asyncio.get_running_loop().create_task(self._run(work))

    async def _run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        except Fenced as fenced:
            return fenced
        finally:
            self.is_armed = False
            self.paused.set()

    def result(self) -> Any:
        """Return what the side returned, or that it was fenced; raise what else it raised."""
        assert self._work is not None
        return self._work.result()

    async def turn(self, step: Step) -> None:
        """Wait until it is this side's turn."""
        if not self.is_armed:
            return
        self.next, self._turn = step, asyncio.get_running_loop().create_future()
        self.paused.set()
        await self._turn

    def go(self) -> None:
        """Let it take its next step."""
        assert self._turn is not None, f"side {self.name} is not waiting for its turn"
        turn, self._turn, self.next = self._turn, None, None
        self.paused.clear()
        turn.set_result(None)

    def give_up(self) -> None:
        """Let it roll back and end instead of taking its next step."""
        self.is_armed = False
        if self._turn is not None:
            turn, self._turn, self.next = self._turn, None, None
            turn.set_exception(_GivenUp())

    async def end(self) -> None:
        """Wait until it has ended, after ``give_up``."""
        if self._work is not None:
            await asyncio.wait([self._work], timeout=_DEADLINE_S)
            assert self._work.done(), f"side {self.name} can't be ended"
            self._work.exception()  # seen


class _GivenUp(Exception):
    """Nothing new can come of this order."""


class SteppedConnection:
    """A side's connection during one transaction: it stops before each step."""

    def __init__(self, connection: Any, side: Side, schema: Schema, *, is_reading: bool) -> None:
        self._connection, self._side, self._schema, self._is_reading = connection, side, schema, is_reading
        self._done = Step("commit", is_commit=True)
        self._has_begun = False
        side.pid = connection.get_server_pid()

    async def fetch(self, query: str, *values: Any) -> Sequence[Row]:
        step = self._schema.step(query)
        if self._is_reading:  # what the later statements read is seen now, too
            step = step._replace(name=f"read ({step.name}, …)", reads=frozenset(self._schema.references))
        if _NAMED_LOCKS in query:
            numbers, are_shared, *_ = values
            locks = [(f"lock {number}", is_shared) for number, is_shared in zip(numbers, are_shared, strict=True)]
            step = step._replace(
                writes=step.writes | {lock for lock, is_shared in locks if not is_shared},
                shares=step.shares | {lock for lock, is_shared in locks if is_shared},
            )
        if not (self._is_reading and self._has_begun):
            await self._side.turn(step)
        self._has_begun = True
        self._done = self._done.with_(step)
        try:
            return await self._connection.fetch(query, *values)
        except asyncpg.DeadlockDetectedError:
            self._side.deadlock_count += 1
            raise

    async def before_commit(self) -> None:
        if not self._is_reading:
            await self._side.turn(self._done)


class _Choice(NamedTuple):
    """A place in the tree of orders."""

    steps: dict[int, Step]
    """The sides that could go on, and with what."""
    asleep: dict[int, Step]
    """Those whose orders from here have all been walked, here or elsewhere."""
    taken: int


class Order(NamedTuple):
    """An order that was played to its end."""

    results: list[Any]
    """What each side returned; ``Fenced`` where it was."""
    log: list[str]
    """What happened, one step a line."""
    deadlock_count: int

    def place(self, line: str, *, is_last: bool = False) -> int:
        """Tell when a step was taken; -1 if it wasn't."""
        found = [number for number, entry in enumerate(self.log) if entry == line]
        return found[-1 if is_last else 0] if found else -1


class Walk(NamedTuple):
    """What was walked."""

    order_count: int
    cut_count: int
    """How many orders were given up on the way, because they were about to repeat another."""
    is_whole: bool
    """No order was left out, but for those that would repeat another."""


class Stepper:
    """Plays a race in one order after the other."""

    def __init__(self, watch: Any, *, is_pruned: bool = True) -> None:
        self._watch, self._is_pruned = watch, is_pruned
        self._path: list[_Choice] = []
        self._log: list[str] = []
        self._chance: Random | None = None

    async def walk(
        self,
        sides: Sequence[Side],
        works: Sequence[Callable[[], Awaitable[Any]]],
        reset: Callable[[], Awaitable[None]],
        check: Callable[[Order], Awaitable[None]],
        *,
        orders_max: int | None = None,
        chance: Random | None = None,
    ) -> Walk:
        """Play orders, each after ``reset``, and ``check`` each: all of them, or no more than ``orders_max``.

        With ``chance`` they are drawn, and may repeat.
        """
        walk = Walk(0, 0, is_whole=False)
        self._path, self._chance = [], chance
        while walk.order_count != orders_max:
            await reset()
            self._log = []
            try:
                if await self._play(sides, works):
                    walk = walk._replace(order_count=walk.order_count + 1)
                    deadlocks = sum(side.deadlock_count for side in sides)
                    await check(Order([side.result() for side in sides], self._log, deadlocks))
                else:
                    walk = walk._replace(cut_count=walk.cut_count + 1)
            except Exception as error:
                error.add_note("in this order:\n  " + "\n  ".join(self._log))
                raise
            finally:
                for side in sides:
                    side.give_up()
                for side in sides:
                    await side.end()
            if chance is not None:
                self._path = []
            elif not self._turn_back():
                return walk._replace(is_whole=True)
        return walk

    def _turn_back(self) -> bool:
        """Go back to the last place where another side could have gone on; False when there is none."""
        while self._path:
            steps, asleep, taken = self._path.pop()
            asleep = asleep | {taken: steps[taken]}
            awake = [side for side in steps if side not in asleep]
            if awake:
                self._path.append(_Choice(steps, asleep, awake[0]))
                return True
        return False

    async def _play(self, sides: Sequence[Side], works: Sequence[Callable[[], Awaitable[Any]]]) -> bool:
        """Play one order: what is left of the path, and then on to the end. False when it would repeat another."""
        waiting: set[int] = set()
        was_undisturbed = True  # nobody waited when the last step was taken, so it was that step alone
        for side, work in zip(sides, works, strict=True):
            side.start(work)
        for side in sides:
            await self._settle(side)
        depth = 0
        while True:
            steps = {number: side.next for number, side in enumerate(sides) if side.next is not None}
            if not steps:
                if all(side.has_ended for side in sides):
                    return True
                await self._until_one_goes_on(sides, waiting)
                continue
            if depth == len(self._path):
                choice = self._choose(steps, was_undisturbed)
                if choice is None:
                    return False
                self._path.append(choice)
            taken = self._path[depth].taken
            if taken not in steps:  # a deadlock may find another victim than it did before
                assert any(side.deadlock_count for side in sides), "the same steps led elsewhere"
                del self._path[depth:]
                continue
            depth += 1
            step, side = steps[taken], sides[taken]
            self._log.append(f"{side.name}: {step.name}")
            was_undisturbed = not waiting
            side.go()
            if not await self._settle(side):
                waiting.add(taken)
                was_undisturbed = False
                self._log.append(f"{side.name} waits")
            await self._look_after(sides, waiting)

    def _choose(self, steps: dict[int, Step], was_undisturbed: bool) -> _Choice | None:
        """Choose a side at a new place; None if each that can go on has been seen to go on from here."""
        asleep: dict[int, Step] = {}
        if self._path and self._is_pruned and was_undisturbed:
            last = self._path[-1]
            done = last.steps[last.taken]
            asleep = {number: step for number, step in last.asleep.items() if step.commutes(done)}
        awake = [number for number in steps if number not in asleep]
        if not awake:
            return None
        return _Choice(steps, asleep, awake[0] if self._chance is None else self._chance.choice(awake))

    async def _look_after(self, sides: Sequence[Side], waiting: set[int]) -> None:
        """Let those that had to wait go on if they can now."""
        for number in sorted(waiting):
            if await self._settle(sides[number]):
                waiting.remove(number)
                self._log.append(f"{sides[number].name} goes on")

    async def _until_one_goes_on(self, sides: Sequence[Side], waiting: set[int]) -> None:
        """All wait for each other: PostgreSQL ends one of them."""
        pauses = [asyncio.ensure_future(sides[number].paused.wait()) for number in waiting]
        try:
            await asyncio.wait(pauses, timeout=_DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
            assert any(pause.done() for pause in pauses), "all sides wait, and nobody goes on"
        finally:
            for pause in pauses:
                pause.cancel()
        await self._look_after(sides, waiting)

    async def _settle(self, side: Side) -> bool:
        """Wait until a side has taken its step; False if it waits for a lock."""
        deadline = asyncio.get_running_loop().time() + _DEADLINE_S
        while True:
            try:
                async with asyncio.timeout(_LOOK_AFTER_S):
                    await side.paused.wait()
                return True
            except TimeoutError:
                # Not pg_stat_activity: it goes on saying Lock until the process that was woken has noticed.
                if await self._watch.fetchval("select cardinality(pg_blocking_pids($1)) > 0", side.pid):
                    return False
            assert asyncio.get_running_loop().time() < deadline, f"side {side.name} doesn't end its step"
