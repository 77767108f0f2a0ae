"""The run machine against a naive model: however calls are ordered and lost, a run ends as its code reads.

The model reads a function from top to bottom. The machine is driven by the simulated app's answers, in any order, with
answers that get lost and jobs that are leased anew.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from stepwell.engine.core.model import Job, JobKind, Reply, RunStatus
from stepwell.engine.core.reply import read_reply
from stepwell.engine.core.state import RunState
from stepwell.engine.executor import outgoing_call
from tests.simulation.app import (
    Boom,
    Execution,
    Invoke,
    Node,
    Parallel,
    Program,
    SimulatedApp,
    Sleep,
    Step,
    WaitEvent,
    WaitSignal,
)
from tests.unit.engine.making import Machine, function_of

T = TypeVar("T")

SLUG = "app-f"
TURNS_MAX = 2_000


@st.composite
def programs(draw: st.DrawFn, *, races: bool) -> Program:
    """Make up a function. Steps that fail aren't put into races: who wins would decide how the run ends."""
    retries = draw(st.integers(0, 2))
    names = (f"s{number}" for number in range(1, 1000))

    def leaf(may_fail: bool) -> Node:
        kind = draw(st.sampled_from(["step", "step", "step", "sleep"]))
        if kind == "sleep":
            return Sleep(next(names), draw(st.sampled_from([0, 1_000, 60_000])))
        fails = draw(st.sampled_from([0, 0, 1, retries + 1])) if may_fail else 0
        return Step(next(names), fails, took_ms=0, is_caught=draw(st.booleans()))

    def sequence(depth: int, may_fail: bool) -> tuple[Node, ...]:
        nodes: list[Node] = []
        for _ in range(draw(st.integers(1, 2) if depth < 2 else st.integers(0, 3))):
            kind = draw(st.sampled_from(["leaf", "leaf", "parallel", "boom"]))
            if kind == "parallel" and depth > 0:
                is_race = races and draw(st.booleans())
                count = draw(st.integers(2, 3))
                branches = tuple(sequence(depth - 1, may_fail and not is_race) for _ in range(count))
                nodes.append(Parallel(branches, is_race))
            elif kind == "boom" and may_fail:
                nodes.append(Boom(draw(st.integers(1, retries + 1))))
            else:
                nodes.append(leaf(may_fail))
        return tuple(nodes)

    return Program(SLUG, sequence(2, True), retries, draw(st.sampled_from([0, 1, 2])), ("a",))


class ModelFails(Exception):
    """The function ends with an error."""


def read_down(program: Program) -> tuple[bool, dict[str, bool]]:
    """Read a function from top to bottom: does it end well, and which steps have a result (True) or an error?

    Branches are read one after the other, so that it holds for functions without races, and of those that fail it
    gives only what must be there in any case.
    """
    memo: dict[str, bool] = {}

    def read(nodes: Sequence[Node]) -> None:
        for node in nodes:
            match node:
                case Boom(times):
                    if times >= program.max_attempts:
                        raise ModelFails
                case Parallel(branches):
                    for branch in branches:
                        read(branch)
                case Sleep() | WaitEvent() | WaitSignal() | Invoke():
                    memo[node.id] = True
                case Step():
                    memo[node.id] = node.fails < program.max_attempts
                    if not (memo[node.id] or node.is_caught):
                        raise ModelFails

    try:
        read(program.nodes)
    except ModelFails:
        return False, memo
    return True, memo


class Driven:
    """A machine with the app's answers under way."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.broken: list[str] = []
        self.app = SimulatedApp([program], self._began, self.broken.append, self._checkpoint)
        self.machine = Machine(function_of(SLUG, retries=program.retries))
        self.under_way: dict[str, tuple[Job, Reply]] = {}
        self.lost_count = 0

    async def _checkpoint(self, *_: object) -> bool:
        """Take no reports from the middle of a call; the programs here make none."""
        return False

    def _began(self, execution: Execution) -> None:
        """Check that a step doesn't run while it runs already, or after its result was recorded."""
        if execution.step in self.machine.state.memo:
            self.broken.append(f"{execution.step} runs after its result was recorded")
        running = {job.step_id for job, _ in self.under_way.values() if job.kind is JobKind.STEP}
        if execution.step in running:
            self.broken.append(f"{execution.step} runs twice at the same time")

    def waiting(self) -> list[Job]:
        return [job for job in self.machine.jobs if job.owner is None]

    def begin(self, job: Job) -> None:
        """Lease a job; a call is answered with the memo as it is now, and the answer is under way."""
        machine = self.machine
        machine.now = max(machine.now, job.due_at)
        if job.kind is JobKind.TIMER:
            machine.fire(job)
            return
        leased = machine.lease(job)
        call = outgoing_call(machine.state, leased, machine.function)
        status, headers, body = finish(self.app.serve(SLUG, call.step_id, call.body, call.request_id))
        reply = read_reply(status, CIMultiDict(headers), body, now_ms=machine.now, url=call.url)
        self.under_way[leased.id] = (leased, reply)

    def arrive(self, id: str) -> None:
        job, reply = self.under_way.pop(id)
        self.machine.answer(job, reply)

    def lose(self, id: str) -> None:
        """Forget a call with its server: the job is leased anew, and no retry is used up."""
        job, _ = self.under_way.pop(id)
        self.lost_count += 1
        released = msgspec.structs.replace(
            job, owner=None, leased_at=None, generation=job.generation + 1, lost_count=job.lost_count + 1
        )
        self.machine.state.put(released)

    def check(self) -> None:
        """Check what holds after each turn."""
        assert self.broken == []
        state = self.machine.state
        if state.run.status.is_final:
            assert state.jobs == {}
            return
        assert state.jobs, "a run that isn't finished has a job"
        assert sum(job.kind is JobKind.DISCOVER for job in state.jobs.values()) <= 1
        steps = [job.step_id for job in state.jobs.values() if job.kind is not JobKind.DISCOVER]
        assert len(steps) == len(set(steps))
        assert not state.memo.keys() & set(steps)
        assert state.pending == set(steps)
        assert state.joined == {job.id for job in state.jobs.values() if job.is_joined}


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing to its end."""
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            return end.value


def drive(program: Program, choose: Any, *, may_lose: bool) -> Driven:
    """Let things happen in the order that is chosen, until the run has ended."""
    driven = Driven(program)
    for _ in range(TURNS_MAX):
        if driven.machine.run.status.is_final:
            return driven
        deeds = [("begin", job) for job in driven.waiting()] + [("arrive", id) for id in sorted(driven.under_way)]
        if may_lose and driven.lost_count < 5:
            deeds += [("lose", id) for id in sorted(driven.under_way)]
        deed, what = deeds[choose(len(deeds))]
        getattr(driven, deed)(what)
        driven.check()
    raise AssertionError("the run never ends")


@settings(max_examples=150)
@given(program=programs(races=False), data=st.data(), may_lose=st.booleans())
def test_a_run_ends_as_its_code_reads(program: Program, data: st.DataObject, may_lose: bool) -> None:
    driven = drive(program, lambda count: data.draw(st.integers(0, count - 1)), may_lose=may_lose)

    ends_well, memo = read_down(program)
    event("ends well" if ends_well else "fails")
    state = driven.machine.state
    assert ends_well == program.ends_well()
    assert state.run.status is (RunStatus.COMPLETED if ends_well else RunStatus.FAILED)
    found = {id: not value.startswith(b'{"error"') for id, value in state.memo.items()}
    if ends_well:
        assert found == memo
    else:
        assert all(memo.get(id, value) == value for id, value in found.items())


@settings(max_examples=150)
@given(program=programs(races=True), data=st.data(), may_lose=st.booleans())
def test_a_run_with_races_ends_whoever_wins(program: Program, data: st.DataObject, may_lose: bool) -> None:
    driven = drive(program, lambda count: data.draw(st.integers(0, count - 1)), may_lose=may_lose)

    status = RunStatus.COMPLETED if program.ends_well() else RunStatus.FAILED
    assert driven.machine.run.status is status


@settings(max_examples=50)
@given(program=programs(races=True), data=st.data())
def test_the_fold_of_what_was_committed_is_the_state(program: Program, data: st.DataObject) -> None:
    machine = drive(program, lambda count: data.draw(st.integers(0, count - 1)), may_lose=True).machine

    steps = [step for transition in machine.transitions for step in transition.steps]
    folded = RunState(machine.run, machine.event.body, steps, machine.jobs)
    for part in ("memo", "stack", "steps_sorted", "memo_bytes", "jobs", "pending", "joined"):
        assert getattr(folded, part) == getattr(machine.state, part)


@settings(max_examples=50)
@given(program=programs(races=False), data=st.data())
def test_no_step_is_called_more_often_than_its_code_makes_necessary(program: Program, data: st.DataObject) -> None:
    driven = drive(program, lambda count: data.draw(st.integers(0, count - 1)), may_lose=False)

    for step in program.steps():
        executions = driven.app.ledger.by_step.get((driven.machine.run.id, step.id), [])
        attempts = [execution.attempt for execution in executions]
        assert len(attempts) == len(set(attempts)) <= program.max_attempts
        assert len(attempts) <= step.fails + 1
