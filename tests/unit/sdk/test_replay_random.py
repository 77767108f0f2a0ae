"""Random programs of steps, completed in random orders, against what they would give without any server.

Programs use few step ids again and again, so that a step which gets another's index is seen by its value.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from typing import Any, NamedTuple, TypeAlias

import hypothesis
from hypothesis import strategies

from stepwell import Step, StepError, SyncStep
from tests.unit.sdk.checkpointing import CheckpointedRun
from tests.unit.sdk.pretend import PretendRun, new_app


class Leaf(NamedTuple):
    """A step; ``kind`` is ``run``, ``sleep`` or ``fail``."""

    kind: str
    id: str


class Node(NamedTuple):
    """Programs one after the other (``then``), or at the same time."""

    kind: str
    parts: list[Program]


Program: TypeAlias = Leaf | Node

# Mostly one id: what goes wrong with indexes then shows soon.
leaves = strategies.builds(
    Leaf, strategies.sampled_from(["run", "run", "run", "sleep", "fail"]), strategies.sampled_from("ab")
)
programs: strategies.SearchStrategy[Program] = strategies.recursive(
    leaves,
    lambda inner: strategies.builds(
        Node, strategies.sampled_from(["then", "gather", "group"]), strategies.lists(inner, max_size=4)
    ),
    max_leaves=10,
)


class Interpreter:
    """Runs a program by step tools; each leaf gives its own number."""

    def __init__(self, program: Program) -> None:
        self.numbers: dict[int, int] = {}
        self.ran: Counter[int] = Counter()
        self.expected = self._expect(program, itertools.count())
        self.program = program

    def _expect(self, program: Program, count: Any) -> Any:
        if isinstance(program, Node):
            return [self._expect(part, count) for part in program.parts]
        self.numbers[id(program)] = number = next(count)
        return {"run": number, "sleep": None, "fail": f"failed {number}"}[program.kind]

    def body(self, leaf: Leaf) -> int:
        number = self.numbers[id(leaf)]
        self.ran[number] += 1
        if leaf.kind == "fail":
            raise ValueError(f"failed {number}")
        return number

    async def run(self, step: Step, program: Program) -> Any:
        match program:
            case Leaf("sleep", id):
                return await step.sleep(id, 1)
            case Leaf(_, id):
                try:
                    return await step.run(id, self.body, program)
                except StepError as error:
                    return error.message
            case Node("then", parts):
                return [await self.run(step, part) for part in parts]
            case Node("gather", parts):
                return await asyncio.gather(*(self.run(step, part) for part in parts))
            case Node(_, parts):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self.run(step, part)) for part in parts]
                return [task.result() for task in tasks]

    def run_sync(self, step: SyncStep, program: Program) -> Any:
        match program:
            case Leaf("sleep", id):
                return step.sleep(id, 1)
            case Leaf(_, id):
                try:
                    return step.run(id, self.body, program)
                except StepError as error:
                    return error.message
            case Node("then", parts):
                return [self.run_sync(step, part) for part in parts]
            case Node(_, parts):
                return step.parallel([lambda part=part: self.run_sync(step, part) for part in parts])


NESTED = Node("gather", [Node("gather", [Node("then", [Leaf("run", "a"), Leaf("run", "a")]), Leaf("run", "a")])])
LOADS = Node("gather", [Node("then", [Leaf("run", "a"), Leaf("run", "a")]) for _ in range(3)])


@hypothesis.settings(max_examples=250)
@hypothesis.example(program=NESTED, is_async=False, has_joins=False, goes_on=False, seed=0)
@hypothesis.example(program=LOADS, is_async=True, has_joins=False, goes_on=False, seed=12)
@hypothesis.given(
    program=programs,
    is_async=strategies.booleans(),
    has_joins=strategies.booleans(),
    goes_on=strategies.booleans(),
    seed=strategies.integers(),
)
def test_any_program_gives_what_it_would_without_a_server_and_runs_each_step_once(
    program: Program, is_async: bool, has_joins: bool, goes_on: bool, seed: int
) -> None:
    sw = new_app()
    interpreter = Interpreter(program)

    @sw.function("async", on="test/event")
    async def run(step: Step) -> Any:
        return await interpreter.run(step, program)

    @sw.function("sync", on="test/event")
    def run_sync(step: SyncStep) -> Any:
        return interpreter.run_sync(step, program)

    pretend = (CheckpointedRun if goes_on else PretendRun)(
        sw,
        "async" if is_async else "sync",
        is_sync=not is_async,
        max_attempts=1,
        pick=random.Random(seed).randrange,
        has_joins=has_joins,
    )
    answer = asyncio.run(pretend.end())

    assert answer.body == interpreter.expected
    assert all(count == 1 for count in interpreter.ran.values())
