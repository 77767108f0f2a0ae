"""Waits for events against a naive model, through the real engine and store: first match, time-out, look back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.sync import Trigger
from tests.properties.engine_world import DONE, memo, waits
from tests.properties.test_limits import EngineMachine, seeds
from tests.unit.engine.making import function_of

KEYS: Final = ("x", "y", 1, None)
TIMEOUT_S: Final = 2
CONDITIONS: Final = (
    None,
    "async.data.key == event.data.key",
    "async.data.key == event.data.key && async.data.n > event.data.n",
    "async.data.n == 2",
)


def holds(condition: str | None, event: dict[str, Any], data: dict[str, Any]) -> bool:
    """Tell whether an event is one that a wait is for, as one reads its condition."""
    has_key = data["key"] == event["key"]
    return {
        None: True,
        CONDITIONS[1]: has_key,
        CONDITIONS[2]: has_key and data["n"] > event["n"],
        CONDITIONS[3]: data["n"] == 2,
    }[condition]


@dataclass
class ModelWait:
    """A wait of a run: open, or resolved by an event's data, or timed out."""

    condition: str | None
    expires_at: int
    is_open: bool = True
    data: dict[str, Any] | None = None


@dataclass
class ModelRun:
    """A run of the model: its event, and its waits by their titles."""

    data: dict[str, Any]
    queued_at: int
    waits: dict[str, ModelWait]


events = st.fixed_dictionaries({"key": st.sampled_from(KEYS), "n": st.integers(0, 3)})


class WaitMachine(EngineMachine):
    """Runs that wait for events of one name, again and again."""

    @initialize(seed=seeds)
    def begin(self, seed: int) -> None:
        self.runs: dict[str, ModelRun] = {}
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.serial = 0
        self.begin_world(seed, function_of(triggers=[Trigger(event="a")]))

    @rule(data=events)
    def start(self, data: dict[str, Any]) -> None:
        queued_at = self.world.now
        [[run]] = self.world.send("a", data)
        self.runs[run] = ModelRun(data, queued_at, {})

    @precondition(lambda self: self.has_calls)
    @rule(place=st.integers(0, 20), condition=st.sampled_from(CONDITIONS), looks_back=st.booleans())
    def wait_for(self, place: int, condition: str | None, looks_back: bool) -> None:
        call = self.chosen(place)
        run = self.runs[call.run_id]
        title = f"wait {len(run.waits)}"
        wait = run.waits[title] = ModelWait(condition, self.world.now + TIMEOUT_S * 1000)
        if looks_back:
            found = [data for at, data in self.sent if at >= run.queued_at and holds(condition, run.data, data)]
            if found:
                wait.is_open, wait.data = False, found[0]
        opts = {"timeout": f"{TIMEOUT_S}s"}
        if condition is not None:
            opts["if"] = condition
        if looks_back:
            opts["since"] = "run_start"
        self.world.answer(call, waits(title, "w", **opts))

    @rule(several=st.lists(events, min_size=1, max_size=3))
    def send(self, several: list[dict[str, Any]]) -> None:
        sent: list[dict[str, Any]] = []
        for data in several:
            self.serial += 1
            sent.append(data | {"serial": self.serial})
        now = self.world.now
        self.world.send("w", *sent)
        for data in sent:
            self.sent.append((now, data))
            for run in self.runs.values():
                for wait in run.waits.values():
                    if wait.is_open and holds(wait.condition, run.data, data):
                        wait.is_open, wait.data = False, data

    @rule(seconds=st.sampled_from([0.3, 1.0, 2.5]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)
        for run in self.runs.values():
            for wait in run.waits.values():
                if wait.is_open and wait.expires_at <= self.world.now:
                    wait.is_open = False

    @precondition(lambda self: self.has_calls)
    @rule(place=st.integers(0, 20))
    def finish(self, place: int) -> None:
        call = self.chosen(place)
        del self.runs[call.run_id]
        self.world.answer(call, DONE)

    @invariant()
    def runs_are_told_of_their_waits_and_of_nothing_else(self) -> None:
        if not hasattr(self, "world"):
            return
        calling = {call.run_id: call for call in self.world.calls.values()}
        for id, run in self.runs.items():
            is_waiting = any(wait.is_open for wait in run.waits.values())
            assert (id in calling) is not is_waiting, f"run {id} should {'wait' if is_waiting else 'go on'}"
            if not is_waiting:
                self.check_memo(calling[id], run)
        rows = self.world.rows("select run_id from wait")
        assert sorted(rows) == sorted(
            (id,) for id, run in self.runs.items() for wait in run.waits.values() if wait.is_open
        )

    def check_memo(self, call: OutgoingCall, run: ModelRun) -> None:
        for title, wait in run.waits.items():
            event = memo(call, title)
            assert (event and event["data"]) == wait.data, f"{title} has {event}, and not {wait.data}"


TestWaits = WaitMachine.TestCase
TestWaits.settings = settings(max_examples=40, stateful_step_count=30)
