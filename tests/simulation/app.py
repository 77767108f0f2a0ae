"""A simulated app: small functions of steps, sleeps and parallel branches, answering as an SDK does (protocol 4.13).

A function is a list of nodes. A call replays it against the memo, finds what is new, runs one step at most, and says
so. What it did is kept in a ledger, by which the world is judged.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

from stepwell.protocol.ids import step_hash


@dataclass(frozen=True)
class Step:
    """A step that fails in its first ``fails`` attempts, and takes its time."""

    name: str
    fails: int = 0
    took_ms: int = 10
    is_caught: bool = False
    """The function goes on when the step has failed for good."""

    @property
    def id(self) -> str:
        return step_hash(self.name)


@dataclass(frozen=True)
class Sleep:
    name: str
    ms: int

    @property
    def id(self) -> str:
        return step_hash(self.name)


@dataclass(frozen=True)
class Parallel:
    """Branches side by side; a race goes on when the first of them is done."""

    branches: tuple[tuple[Node, ...], ...]
    is_race: bool = False


@dataclass(frozen=True)
class Boom:
    """Code between steps that fails in the first ``times`` attempts of a call."""

    times: int


Node: TypeAlias = Step | Sleep | Parallel | Boom


@dataclass(frozen=True)
class Program:
    """A function: what it is made of, and how it is registered."""

    slug: str
    nodes: tuple[Node, ...]
    retries: int
    version: int
    events: tuple[str, ...]
    condition: str | None = None
    cron: str | None = None
    app: str = "one"

    @property
    def max_attempts(self) -> int:
        return self.retries + 1

    def steps(self) -> Iterator[Step]:
        return (node for node in every(self.nodes) if isinstance(node, Step))

    def ends_well(self) -> bool:
        """Tell how it ends when nothing but its own code fails."""
        return not any(
            (isinstance(node, Step) and node.fails >= self.max_attempts and not node.is_caught)
            or (isinstance(node, Boom) and node.times >= self.max_attempts)
            for node in every(self.nodes)
        )


def every(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if isinstance(node, Parallel):
            for branch in node.branches:
                yield from every(branch)


@dataclass
class Execution:
    """One time that a step's body ran."""

    run_id: str
    step: str
    attempt: int
    caller: str
    is_over: bool = False


@dataclass
class Ledger:
    """What the app did, and what it was told."""

    executions: list[Execution] = field(default_factory=list)
    memos: dict[tuple[str, str], Any] = field(default_factory=dict)
    by_step: dict[tuple[str, str], list[Execution]] = field(default_factory=dict)

    def begin(self, execution: Execution) -> None:
        self.executions.append(execution)
        self.by_step.setdefault((execution.run_id, execution.step), []).append(execution)


class _Fails(Exception):
    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


@dataclass
class _Found:
    node: Step | Sleep
    is_race: bool


class SimulatedApp:
    """Serves programs. ``began`` is told of each execution before its body runs."""

    def __init__(
        self, programs: Sequence[Program], began: Callable[[Execution], None], fail: Callable[[str], None]
    ) -> None:
        self.programs = {program.slug: program for program in programs}
        self.ledger = Ledger()
        self._began, self._fail = began, fail

    async def serve(self, slug: str, step_id: str, raw: bytes, caller: str) -> tuple[int, dict[str, str], bytes]:
        """Answer a call: status, headers, body."""
        body = json.loads(raw)
        program, context, memo = self.programs[slug], body["ctx"], body["steps"]
        self._check(program, context, memo)
        headers = {"X-Inngest-SDK": "simulated:v1", "X-Inngest-Req-Version": str(program.version)}
        found: list[_Found] = []
        try:
            is_done = self._walk(program.nodes, memo, context, found, is_race=False)
        except _Fails as error:
            if error.is_final:
                headers["X-Inngest-No-Retry"] = "true"
            return 500, headers, json.dumps({"name": "Error", "message": str(error)}).encode()
        if step_id != "step":
            return await self._serve_target(program, step_id, context, memo, headers, found, caller)
        if is_done:
            return 200, headers, json.dumps({"of": context["run_id"]}).encode()
        if len(found) == 1 and isinstance(found[0].node, Step) and not context["disable_immediate_execution"]:
            op = await self._execute(found[0].node, context, caller)
            return 206, headers, json.dumps([op]).encode()
        return 206, headers, json.dumps([_planned(new) for new in found]).encode()

    async def _serve_target(
        self,
        program: Program,
        step_id: str,
        context: dict[str, Any],
        memo: dict[str, Any],
        headers: dict[str, str],
        found: Sequence[_Found],
        caller: str,
    ) -> tuple[int, dict[str, str], bytes]:
        target = next((new.node for new in found if new.node.id == step_id), None)
        if isinstance(target, Step):
            op = await self._execute(target, context, caller)
            return 206, headers, json.dumps([op]).encode()
        if step_id in memo:
            return 206, headers, b"[]"
        self._fail(f"a targeted call for a step that is not next: {step_id} of {program.slug}")
        return 500, headers, b'{"message":"step not found"}'

    def _check(self, program: Program, context: dict[str, Any], memo: dict[str, Any]) -> None:
        run_id, attempt = context["run_id"], context["attempt"]
        if context["max_attempts"] != program.max_attempts:
            self._fail(f"{run_id}: max_attempts is {context['max_attempts']}, not {program.max_attempts}")
        if not 0 <= attempt < program.max_attempts:
            self._fail(f"{run_id}: attempt {attempt} of {program.max_attempts}")
        stack = context["stack"]["stack"]
        if sorted(stack) != sorted(memo) or len(set(stack)) != len(stack):
            self._fail(f"{run_id}: the stack {stack} isn't the order of the memo {sorted(memo)}")
        for step_id, value in memo.items():
            if self.ledger.memos.setdefault((run_id, step_id), value) != value:
                self._fail(f"{run_id}: the memo of {step_id} changed to {value}")

    def _walk(
        self,
        nodes: Sequence[Node],
        memo: dict[str, Any],
        context: dict[str, Any],
        found: list[_Found],
        *,
        is_race: bool,
    ) -> bool:
        """Replay nodes up to what is new; True when they are done."""
        for node in nodes:
            match node:
                case Boom(times):
                    if context["attempt"] < times:
                        raise _Fails("boom", is_final=False)
                case Parallel(branches, is_race=races):
                    dones = [self._walk(branch, memo, context, found, is_race=races) for branch in branches]
                    if not (any(dones) if races else all(dones)):
                        return False
                case _:
                    if node.id not in memo:
                        found.append(_Found(node, is_race))
                        return False
                    value = memo[node.id]
                    if isinstance(node, Step) and "error" in value and not node.is_caught:
                        raise _Fails(value["error"]["message"], is_final=True)
        return True

    async def _execute(self, step: Step, context: dict[str, Any], caller: str) -> dict[str, Any]:
        attempt = context["attempt"]
        execution = Execution(context["run_id"], step.id, attempt, caller)
        self._began(execution)
        self.ledger.begin(execution)
        number = len(self.ledger.executions)
        await asyncio.sleep(step.took_ms / 1000)
        execution.is_over = True
        op = {"id": step.id, "name": step.name, "displayName": step.name, "opts": {}, "data": None}
        if attempt >= step.fails:
            return {**op, "op": "StepRun", "data": {"execution": number}}
        is_last = attempt + 1 >= context["max_attempts"]
        error = {"name": "Error", "message": f"{step.name} failed in attempt {attempt}"}
        return {**op, "op": "StepFailed" if is_last else "StepError", "error": error}


def _planned(new: _Found) -> dict[str, Any]:
    op: dict[str, Any] = {
        "id": new.node.id,
        "name": new.node.name,
        "displayName": new.node.name,
        "opts": {"parallelMode": "race"} if new.is_race else {},
        "data": None,
    }
    if isinstance(new.node, Sleep):
        return {**op, "op": "Sleep", "name": f"{new.node.ms}ms"}
    return {**op, "op": "StepPlanned"}


def make_program(chance: Random, slug: str, app: str) -> Program:
    """Make up a function. Steps that fail are not put into races: who wins would decide how the run ends."""
    retries = chance.choice([0, 1, 2, 3])
    numbers = iter(range(1, 1000))

    def leaf(*, may_fail: bool) -> Node:
        name = f"s{next(numbers)}"
        kind = chance.random()
        if kind < 0.2:
            return Sleep(name, chance.choice([0, 5, 1_000, 60_000, 86_400_000]))
        fails = 0
        if may_fail and chance.random() < 0.3:
            fails = chance.choice([1, 1, retries, retries + 1])
        took_ms = chance.choice([0, 1, 10, 500, 500, 30_000])
        return Step(name, fails, took_ms, is_caught=chance.random() < 0.5)

    def sequence(depth: int, count: int, *, may_fail: bool) -> tuple[Node, ...]:
        nodes: list[Node] = []
        for _ in range(count):
            if depth > 0 and chance.random() < 0.4:
                is_race = chance.random() < 0.45
                branches = tuple(
                    sequence(depth - 1, chance.randint(1, 2), may_fail=may_fail and not is_race)
                    for _ in range(chance.randint(2, 4))
                )
                nodes.append(Parallel(branches, is_race))
            elif may_fail and chance.random() < 0.1:
                nodes.append(Boom(chance.choice([1, retries, retries + 1])))
            else:
                nodes.append(leaf(may_fail=may_fail))
        return tuple(nodes)

    return Program(
        slug=slug,
        nodes=sequence(2, chance.randint(0, 4), may_fail=True),
        retries=retries,
        version=chance.choice([0, 1, 2, 2]),
        events=tuple(chance.sample(["a", "b", "a/b.c", "a/*"], chance.randint(1, 2))),
        condition=chance.choice([None, None, "event.data.n > 3"]),
        app=app,
    )
