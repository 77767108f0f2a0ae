"""Concurrency, singletons and fairness against naive models, through the real engine and store."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stepwell.engine.core.model import Function
from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.sync import Trigger
from tests.properties.engine_world import DONE, EngineWorld, engine_world, ran, sleeps
from tests.unit.engine.making import function_of

KEYS: Final = "xyz"
SLUGS: Final = ("app-f", "app-g")
seeds = st.integers(0, 1 << 20)
FEW = settings(max_examples=40, stateful_step_count=30)


class EngineMachine(RuleBasedStateMachine):
    """Has a world of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()

    def begin_world(self, seed: int, *functions: Function, calls_per_app_max: int = 100) -> None:
        self.world: EngineWorld = self.stack.enter_context(
            engine_world(seed, *functions, calls_per_app_max=calls_per_app_max)
        )

    @property
    def has_calls(self) -> bool:
        return bool(self.world.calls)

    def chosen(self, place: int) -> OutgoingCall:
        calls = list(self.world.calls.values())
        return calls[place % len(calls)]

    def teardown(self) -> None:
        self.stack.close()


# -- concurrency ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """At most ``limit`` calls, or runs, of each value of the key. A rule with a scope counts for all that have it."""

    limit: int
    is_keyed: bool = False
    is_run: bool = False
    scope: str | None = None

    def config(self) -> dict[str, Any]:
        key = "event.data.key" if self.is_keyed else "'all'" if self.scope else None
        return {"limit": self.limit, "key": key, "scope": self.scope}

    def slot(self, slug: str, key: str) -> tuple[Any, ...]:
        return ("run" if self.is_run else "call", self.scope or slug, key if self.is_keyed else None)


def rules(scope: st.SearchStrategy[str | None]) -> st.SearchStrategy[Rule]:
    return st.builds(Rule, st.integers(1, 2), st.booleans(), st.booleans(), scope)


@dataclass
class ModelRun:
    """A run of the model."""

    slug: str
    key: str
    has_begun: bool = False
    is_asleep_until: int | None = None
    """Its sleep ends then."""
    steps: int = 0


class ConcurrencyMachine(EngineMachine):
    """Two functions that share some rules: never too many at a time, and nobody waits for nothing."""

    @initialize(
        seed=seeds,
        shared=st.lists(rules(st.sampled_from(["env", "account"])), max_size=1),
        own=st.tuples(*(st.lists(rules(st.none()), max_size=1),) * 2),
    )
    def begin(self, seed: int, shared: list[Rule], own: tuple[list[Rule], list[Rule]]) -> None:
        self.version = 1
        self.limits = {slug: [*shared, *mine] for slug, mine in zip(SLUGS, own, strict=True)}
        self.runs: dict[str, ModelRun] = {}
        self.seen = 0
        self.begin_world(seed, *self.functions())

    def functions(self) -> list[Function]:
        return [
            function_of(
                slug,
                triggers=[Trigger(event=slug)],
                version=self.version,
                concurrency=[rule.config() for rule in rules if not rule.is_run] or None,
                runConcurrency=[rule.config() for rule in rules if rule.is_run] or None,
            )
            for slug, rules in self.limits.items()
        ]

    @rule(slug=st.sampled_from(SLUGS), keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4))
    def send(self, slug: str, keys: list[str]) -> None:
        for key, [run] in zip(keys, self.world.send(slug, *({"key": key} for key in keys)), strict=True):
            self.runs[run] = ModelRun(slug, key)

    @precondition(lambda self: self.has_calls)
    @rule(place=st.integers(0, 20))
    def finish(self, place: int) -> None:
        call = self.chosen(place)
        del self.runs[call.run_id]
        self.world.answer(call, DONE)

    @precondition(lambda self: self.has_calls)
    @rule(place=st.integers(0, 20))
    def go_on(self, place: int) -> None:
        call = self.chosen(place)
        self.world.answer(call, ran(self.next_title(call)))

    @precondition(lambda self: self.has_calls)
    @rule(place=st.integers(0, 20))
    def sleep(self, place: int) -> None:
        call = self.chosen(place)
        self.runs[call.run_id].is_asleep_until = self.world.now + 1000
        self.world.answer(call, sleeps(self.next_title(call), "1s"))

    def next_title(self, call: OutgoingCall) -> str:
        run = self.runs[call.run_id]
        run.steps += 1
        return f"step {run.steps}"

    @rule(seconds=st.sampled_from([0.0, 0.4, 1.1]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(limit=st.integers(1, 3))
    def change_limits(self, limit: int) -> None:
        self.version += 1
        self.limits = {
            slug: [Rule(limit, rule.is_keyed, rule.is_run, rule.scope) for rule in rules]
            for slug, rules in self.limits.items()
        }
        self.world.sync(*self.functions())

    @invariant()
    def limits_hold_and_nobody_waits_for_nothing(self) -> None:
        if not hasattr(self, "world"):
            return
        new = self.world.made[self.seen :]
        self.seen = len(self.world.made)
        for call in new:
            self.runs[call.run_id].is_asleep_until = None
        began = {call.run_id for call in new if not self.runs[call.run_id].has_begun}
        for id in began:
            self.runs[id].has_begun = True
        calling = {call.run_id for call in self.world.calls.values()}
        used: Counter[tuple[Any, ...]] = Counter()
        for id, run in self.runs.items():
            for limit in self.limits[run.slug]:
                if (run.has_begun and limit.is_run) or (id in calling and not limit.is_run):
                    used[limit.slot(run.slug, run.key)] += 1
        for call in new:
            run = self.runs[call.run_id]
            for limit in self.limits[run.slug]:
                if not limit.is_run or call.run_id in began:
                    assert used[limit.slot(run.slug, run.key)] <= limit.limit, f"too many at a time: {limit}"
        for id, run in self.runs.items():
            if id in calling or (run.is_asleep_until is not None and run.is_asleep_until >= self.world.now):
                continue
            needed = [limit for limit in self.limits[run.slug] if not limit.is_run or not run.has_begun]
            full = [limit for limit in needed if used[limit.slot(run.slug, run.key)] >= limit.limit]
            assert full, f"a run of {run.slug} with the key {run.key} waits, though there is room"


TestConcurrency = ConcurrencyMachine.TestCase
TestConcurrency.settings = FEW


# -- singletons -------------------------------------------------------------------------------------------------------


class SingletonMachine(EngineMachine):
    """One run of a key at a time: the newer one is skipped, or cancels the older one."""

    @initialize(seed=seeds, mode=st.sampled_from(["skip", "cancel"]), is_keyed=st.booleans())
    def begin(self, seed: int, mode: str, is_keyed: bool) -> None:
        self.mode, self.is_keyed = mode, is_keyed
        self.holder: dict[str, str] = {}
        self.status: dict[str, str] = {}
        singleton = {"mode": mode, "key": "event.data.key" if is_keyed else None}
        self.begin_world(seed, function_of(triggers=[Trigger(event="a")], singleton=singleton))

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4))
    def send(self, keys: list[str]) -> None:
        for key, [run] in zip(keys, self.world.send("a", *({"key": key} for key in keys)), strict=True):
            slot = key if self.is_keyed else ""
            older = self.holder.get(slot)
            if older is not None and self.mode == "skip":
                self.status[run] = "skipped"
                continue
            if older is not None:
                self.status[older] = "cancelled"
            self.status[run] = "open"
            self.holder[slot] = run

    @precondition(lambda self: self.has_calls)
    @rule(place=st.integers(0, 20), is_done=st.booleans())
    def answer(self, place: int, is_done: bool) -> None:
        call = self.chosen(place)
        if is_done and self.status[call.run_id] == "open":
            self.status[call.run_id] = "completed"
            self.holder = {slot: run for slot, run in self.holder.items() if run != call.run_id}
        self.world.answer(call, DONE if is_done else sleeps(f"nap {call.request_id}", "1s"))

    @rule(seconds=st.sampled_from([0.4, 1.1]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @invariant()
    def runs_are_as_they_should_be(self) -> None:
        if hasattr(self, "world"):
            found = dict(self.world.rows("select id, status from run"))
            open_ones = {"queued": "open", "running": "open"}
            assert {id: open_ones.get(status, status) for id, status in found.items()} == self.status
            begun = {call.run_id for call in self.world.made}
            assert begun.issuperset(self.holder.values()), "a run waits, though it is the only one"


TestSingleton = SingletonMachine.TestCase
TestSingleton.settings = FEW


# -- fairness ---------------------------------------------------------------------------------------------------------


@dataclass
class Waiting:
    """A partition that waits for its turn."""

    turns: int = 0
    """Of others, since it waits."""
    rivals: set[str] = field(default_factory=set[str])
    """Who waited meanwhile."""


class FairnessMachine(EngineMachine):
    """One slot, and many tenants, keys or whole functions: each has its turn before any other has two."""

    @initialize(seed=seeds, limited=st.sets(st.sampled_from(SLUGS)))
    def begin(self, seed: int, limited: set[str]) -> None:
        self.limited = limited
        by_key = [{"limit": 10, "key": "event.data.key"}]
        functions = [
            function_of(slug, triggers=[Trigger(event=slug)], concurrency=by_key if slug in limited else None)
            for slug in SLUGS
        ]
        self.begin_world(seed, *functions, calls_per_app_max=1)
        self.tenants: dict[str, str] = {}
        self.queued: Counter[str] = Counter()
        self.waiting: dict[str, Waiting] = {}
        self.seen = 0

    @rule(
        slug=st.sampled_from(SLUGS),
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3),
        times=st.integers(1, 4),
    )
    def send(self, slug: str, keys: list[str], times: int) -> None:
        keys = keys * times
        for key, [run] in zip(keys, self.world.send(slug, *({"key": key} for key in keys)), strict=True):
            tenant = self.tenants[run] = slug + key if slug in self.limited else slug
            self.queued[tenant] += 1
            self.waiting.setdefault(tenant, Waiting())
        for waiting in self.waiting.values():
            waiting.rivals |= set(self.waiting)
        self.take_turns()

    @precondition(lambda self: self.has_calls)
    @rule(is_done=st.booleans(), times=st.integers(1, 5))
    def answer(self, is_done: bool, times: int) -> None:
        for _ in range(times):
            if not self.has_calls:
                return
            call = self.chosen(0)
            tenant = self.tenants[call.run_id]
            if not is_done:  # it comes back, and has to get in line if others wait
                self.queued[tenant] += 1
                self.waiting.setdefault(tenant, Waiting(rivals=set(self.waiting)))
                for waiting in self.waiting.values():
                    waiting.rivals.add(tenant)
            self.world.answer(call, DONE if is_done else ran(f"step of {call.request_id}"))
            self.take_turns()

    def take_turns(self) -> None:
        for call in self.world.made[self.seen :]:
            tenant = self.tenants[call.run_id]
            for other, waiting in self.waiting.items():
                if other != tenant:
                    waiting.turns += 1
                    # One call may have been on its way before this one came to wait.
                    assert waiting.turns <= len(waiting.rivals - {other}) + 1, f"{other} waits for longer than its turn"
            self.queued[tenant] -= 1
            if self.queued[tenant]:
                self.waiting[tenant] = Waiting(rivals=set(self.waiting))
            else:
                del self.waiting[tenant]
        self.seen = len(self.world.made)

    @invariant()
    def the_slot_is_used(self) -> None:
        if hasattr(self, "world"):
            assert len(self.world.calls) == min(1, len(self.waiting) + len(self.world.calls))


TestFairness = FairnessMachine.TestCase
TestFairness.settings = FEW
