"""A simulated app: small functions of steps, sleeps, waits and parallel branches, answering as an SDK does (protocol 4.13).

A function is a list of nodes. A call replays it against the memo, finds what is new, runs one step at most, and says
so. What it did is kept in a ledger, by which the world is judged.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

from stepwell.protocol.ids import step_hash
from tests.simulation.flow import make_flow

SIGNALS = ("s1", "s2")


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
class WaitEvent:
    """A wait for an event, from now on or from the run's start on."""

    name: str
    event: str
    ms: int
    condition: str | None = None
    looks_back: bool = False

    @property
    def id(self) -> str:
        return step_hash(self.name)

    def matches(self, trigger: Mapping[str, Any], incoming: Mapping[str, Any]) -> bool:
        """Tell whether an event's data is waited for, by that of the run's own event."""
        match self.condition:
            case None:
                return True
            case "event.data.k == async.data.k":
                return "k" in trigger and trigger["k"] == incoming["k"]
            case "async.data.n > 5":
                return incoming["n"] > 5
            case _:
                raise ValueError(self.condition)


@dataclass(frozen=True)
class WaitSignal:
    """A wait for a signal, which only one run may have."""

    name: str
    signal: str
    ms: int
    is_replacing: bool = False
    takes_kept: bool = False

    @property
    def id(self) -> str:
        return step_hash(self.name)


@dataclass(frozen=True)
class Invoke:
    """Another function, whose end is waited for; however it ends, the run goes on."""

    name: str
    slug: str
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


Leaf: TypeAlias = Step | Sleep | WaitEvent | WaitSignal | Invoke
Node: TypeAlias = Leaf | Parallel | Boom

Checkpointing: TypeAlias = Callable[[str, str, dict[str, Any]], Awaitable[bool]]
"""Reports a step of a call while it goes on: run, request id, op. Tells whether the server has it."""


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
    flow: Mapping[str, Any] = field(default_factory=dict)
    """More members of its configuration: flow control."""
    is_checkpointing: bool = False

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
    node: Leaf
    is_race: bool


class SimulatedApp:
    """Serves programs. ``began`` is told of each execution before its body runs."""

    def __init__(
        self,
        programs: Sequence[Program],
        began: Callable[[Execution], None],
        fail: Callable[[str], None],
        checkpoint: Checkpointing,
    ) -> None:
        self.programs = {program.slug: program for program in programs}
        self.ledger = Ledger()
        self._began, self._fail, self._checkpoint = began, fail, checkpoint

    async def serve(self, slug: str, step_id: str, raw: bytes, caller: str) -> tuple[int, dict[str, str], bytes]:
        """Answer a call: status, headers, body."""
        body = json.loads(raw)
        program, context, memo = self.programs[slug], body["ctx"], body["steps"]
        self._check(program, context, memo)
        headers = {"X-Inngest-SDK": "simulated:v1", "X-Inngest-Req-Version": str(program.version)}
        while True:
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
            if len(found) != 1 or not isinstance(found[0].node, Step) or context["disable_immediate_execution"]:
                return 206, headers, json.dumps([_planned(new, body["event"]["data"]) for new in found]).encode()
            op = await self._execute(found[0].node, context, caller)
            goes_on = program.is_checkpointing and op["op"] == "StepRun"
            if not goes_on or not await self._checkpoint(context["run_id"], caller, op):
                return 206, headers, json.dumps([op]).encode()
            memo[op["id"]] = {"data": op["data"]}
            context["attempt"] = 0  # what comes next has all its retries

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


def _planned(new: _Found, data: Mapping[str, Any]) -> dict[str, Any]:
    mode = {"parallelMode": "race"} if new.is_race else {}
    op: dict[str, Any] = {
        "id": new.node.id,
        "name": new.node.name,
        "displayName": new.node.name,
        "opts": mode,
        "data": None,
    }
    match new.node:
        case Step():
            return {**op, "op": "StepPlanned"}
        case Sleep(ms=ms):
            return {**op, "op": "Sleep", "name": f"{ms}ms"}
        case WaitEvent(event=event, ms=ms, condition=condition, looks_back=looks_back):
            opts = {**mode, "event": event, "timeout": f"{ms}ms"}
            opts |= {"if": condition} if condition is not None else {}
            opts |= {"since": "run_start"} if looks_back else {}
            return {**op, "op": "WaitForEvent", "name": event, "opts": opts}
        case WaitSignal(signal=signal, ms=ms, is_replacing=is_replacing, takes_kept=takes_kept):
            opts = {**mode, "signal": signal, "timeout": f"{ms}ms", "keep": takes_kept}
            opts |= {"conflict": "replace"} if is_replacing else {}
            return {**op, "op": "WaitForSignal", "name": signal, "opts": opts}
        case Invoke(slug=slug, ms=ms):
            payload = {"data": {key: data[key] for key in ("n", "k") if key in data}}
            opts = {**mode, "function_id": slug, "payload": payload, "timeout": f"{ms}ms"}
            return {**op, "op": "InvokeFunction", "opts": opts}


def make_wait(chance: Random, name: str) -> WaitEvent | WaitSignal | Invoke:
    ms = chance.choice([0, 1_000, 20_000, 60_000, 600_000, 86_400_000])
    match chance.choice(["event", "event", "signal", "invoke"]):
        case "event":
            condition = chance.choice([None, "event.data.k == async.data.k", "async.data.n > 5"])
            return WaitEvent(name, chance.choice(["w", "w", "a"]), ms, condition, looks_back=chance.random() < 0.4)
        case "signal":
            is_replacing, takes_kept = chance.random() < 0.7, chance.random() < 0.4
            return WaitSignal(name, chance.choice(SIGNALS), ms, is_replacing, takes_kept)
        case _:
            return Invoke(name, chance.choice(["one-child", "two-child", "two-child", "nowhere"]), ms)


def make_program(chance: Random, slug: str, app: str) -> Program:
    """Make up a function. Steps that fail are not put into races: who wins would decide how the run ends."""
    retries = chance.choice([0, 1, 2, 3])
    is_checkpointing = chance.random() < 0.3  # code that failed before a step must not run again after it
    numbers = iter(range(1, 1000))

    def leaf(*, may_fail: bool) -> Node:
        name = f"s{next(numbers)}"
        kind = chance.random()
        if kind < 0.2:
            return Sleep(name, chance.choice([0, 5, 1_000, 60_000, 86_400_000]))
        if kind < 0.4:
            return make_wait(chance, name)
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
            elif may_fail and not is_checkpointing and chance.random() < 0.1:
                nodes.append(Boom(chance.choice([1, retries, retries + 1])))
            else:
                nodes.append(leaf(may_fail=may_fail))
        return tuple(nodes)

    return Program(
        slug=slug,
        nodes=sequence(2, chance.randint(0, 4), may_fail=True),
        retries=retries,
        version=chance.choice([0, 1, 2, 2]),
        events=("a",) if chance.random() < 0.5 else tuple(chance.sample(["a", "b", "a/b.c", "a/*"], 2)),
        condition=chance.choice([None, None, "event.data.n > 3"]),
        app=app,
        flow=make_flow(chance),
        is_checkpointing=is_checkpointing,
    )


def make_child(chance: Random, app: str) -> Program:
    """Make up a function that others invoke."""
    nodes: list[Node] = [Step("s1", fails=chance.choice([0, 0, 1]), took_ms=chance.choice([1, 500, 20_000]))]
    nodes += [Sleep("nap", chance.choice([0, 5_000]))] if chance.random() < 0.5 else []
    return Program(f"{app}-child", tuple(nodes), chance.choice([0, 1]), 2, ("child",), app=app, flow=make_flow(chance))
