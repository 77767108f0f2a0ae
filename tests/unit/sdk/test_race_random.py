"""Random programs of races, groups and sequences, completed in random orders, against a model that knows the order."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from typing import Any, NamedTuple, TypeAlias

import hypothesis
from hypothesis import strategies

from stepwell import Step, StepError, SyncStep
from tests.unit.sdk.checkpointing import CheckpointedRun
from tests.unit.sdk.pretend import PretendRun, new_app


class Leaf(NamedTuple):
    """A step; ``kind`` is ``run`` or ``fail``."""

    kind: str
    id: str


class Node(NamedTuple):
    """Programs one after the other (``then``), at the same time (``all``), or as a race (``any``)."""

    kind: str
    parts: list[Program]


Program: TypeAlias = Leaf | Node

leaves = strategies.builds(Leaf, strategies.sampled_from(["run", "run", "fail"]), strategies.sampled_from("ab"))
programs: strategies.SearchStrategy[Program] = strategies.recursive(
    leaves,
    lambda inner: strategies.builds(
        Node, strategies.sampled_from(["then", "all", "any", "any"]), strategies.lists(inner, min_size=1, max_size=4)
    ),
    max_leaves=10,
)


class Interpreter:
    """Runs a program by step tools; each leaf gives its own number."""

    def __init__(self, program: Program) -> None:
        self.numbers: dict[int, int] = {}
        self.ran: list[int] = []
        self._count(program, itertools.count())

    def _count(self, program: Program, count: Any) -> None:
        if isinstance(program, Node):
            for part in program.parts:
                self._count(part, count)
        else:
            self.numbers[id(program)] = next(count)

    def body(self, leaf: Leaf) -> int:
        number = self.numbers[id(leaf)]
        self.ran.append(number)
        if leaf.kind == "fail":
            raise ValueError(f"failed {number}")
        return number

    async def run(self, step: Step, program: Program) -> Any:
        match program:
            case Leaf(_, id):
                try:
                    return await step.run(id, self.body, program)
                except StepError as error:
                    return error.message
            case Node("then", parts):
                return [await self.run(step, part) for part in parts]
            case Node("all", parts):
                return await asyncio.gather(*(self.run(step, part) for part in parts))
            case Node(_, parts):
                return await step.wait_for_any(*(self.run(step, part) for part in parts))

    def run_sync(self, step: SyncStep, program: Program) -> Any:
        match program:
            case Leaf(_, id):
                try:
                    return step.run(id, self.body, program)
                except StepError as error:
                    return error.message
            case Node("then", parts):
                return [self.run_sync(step, part) for part in parts]
            case Node("all", parts):
                return step.parallel([lambda part=part: self.run_sync(step, part) for part in parts])
            case Node(_, parts):
                return step.wait_for_any(*(lambda part=part: self.run_sync(step, part) for part in parts))

    def expected(self, program: Program) -> tuple[float, Any]:
        """Return when a program ended, by the order in which steps ran, and what it then gives."""
        match program:
            case Leaf(kind, _):
                number = self.numbers[id(program)]
                ended = self.ran.index(number) if number in self.ran else math.inf
                return ended, number if kind == "run" else f"failed {number}"
            case Node("any", parts):
                ends = [self.expected(part) for part in parts]
                index, (ended, value) = min(enumerate(ends), key=lambda end: end[1][0])
                return ended, [index, value]
            case Node(_, parts):
                ends = [self.expected(part) for part in parts]
                return max(end for end, _ in ends), [value for _, value in ends]


LATE_GROUP = Node("any", [Node("all", [Leaf("run", "a"), Leaf("run", "b")]), Leaf("run", "a")])


@hypothesis.settings(max_examples=300)
@hypothesis.example(
    program=LATE_GROUP, is_async=False, has_joins=True, knows_closes=False, is_checkpointed=False, seed=6
)
@hypothesis.example(program=LATE_GROUP, is_async=True, has_joins=True, knows_closes=False, is_checkpointed=True, seed=6)
@hypothesis.given(
    program=programs,
    is_async=strategies.booleans(),
    has_joins=strategies.booleans(),
    knows_closes=strategies.booleans(),
    is_checkpointed=strategies.booleans(),
    seed=strategies.integers(),
)
def test_any_program_of_races_has_the_winners_that_came_first_and_runs_no_step_twice(
    program: Program, is_async: bool, has_joins: bool, knows_closes: bool, is_checkpointed: bool, seed: int
) -> None:
    sw = new_app()
    interpreter = Interpreter(program)

    @sw.function("async", on="test/event")
    async def run(step: Step) -> Any:
        return await interpreter.run(step, program)

    @sw.function("sync", on="test/event")
    def run_sync(step: SyncStep) -> Any:
        return interpreter.run_sync(step, program)

    pretend = (CheckpointedRun if is_checkpointed else PretendRun)(
        sw,
        "async" if is_async else "sync",
        is_sync=not is_async,
        max_attempts=1,
        pick=random.Random(seed).randrange,
        has_joins=has_joins,
        knows_closes=knows_closes,
    )
    answer = asyncio.run(pretend.end())

    assert answer.status == 200
    assert answer.body == interpreter.expected(program)[1]
    assert len(set(interpreter.ran)) == len(interpreter.ran)
