"""The waiting line: no partition is lost, those of a lane take turns, and lanes do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stepwell.engine.waiting_line import Turn, WaitingLine


def lane_of(partition: str) -> str:
    return partition[0]


def line_of(*partitions: str) -> WaitingLine:
    """Make a line in which these have been due since 0."""
    line = WaitingLine(lane_of)
    for partition in partitions:
        line.notice(partition, 0, 0)
    return line


def turns(line: WaitingLine, free: int = 1, *, now: int = 0, count_max: int = 100, jobs_max: int = 100) -> list[Turn]:
    return line.turns(lambda _: free, now, count_max=count_max, jobs_max=jobs_max)


def test_the_slots_of_a_lane_are_shared_out() -> None:
    line = line_of("a1", "a2", "b1")

    assert turns(line, 5) == [("a1", 3), ("a2", 2), ("b1", 5)]
    assert turns(line, 5) == [("a2", 3), ("a1", 2), ("b1", 5)]
    assert turns(line, 5, jobs_max=2) == [("a1", 2), ("a2", 2), ("b1", 2)]


def test_a_lane_without_slots_gets_no_turn() -> None:
    line = line_of("a1", "b1")

    assert line.turns({"a": 0, "b": 1}.__getitem__, 0, count_max=9, jobs_max=9) == [("b1", 1)]


def test_the_partitions_of_a_lane_take_turns() -> None:
    line = line_of("a1", "a2", "a3")

    assert [turn.partition for _ in range(6) for turn in turns(line)] == ["a1", "a2", "a3"] * 2


def test_lanes_take_turns_where_not_all_can_be_looked_at() -> None:
    line = line_of("a1", "a2", "b1", "b2", "c1", "c2")

    found = [[turn.partition for turn in turns(line, 9, count_max=2)] for _ in range(3)]

    assert found == [["a1", "a2"], ["b1", "b2"], ["c1", "c2"]]


def test_what_is_due_later_has_its_turn_then() -> None:
    line = WaitingLine(lane_of)
    line.notice("a1", 10, 0)

    assert (turns(line, now=9), line.next_at()) == ([], 10)
    assert turns(line, now=10) == [("a1", 1)]
    assert line.next_at() is None


def test_an_earlier_time_replaces_a_later_one_and_no_other() -> None:
    line = WaitingLine(lane_of)

    assert line.notice("a1", 10, 0)
    assert not line.notice("a1", 11, 0)
    assert line.notice("a1", 5, 0)
    assert line.next_at() == 5


def test_what_has_no_room_waits_for_one_of_its_keys() -> None:
    line = line_of("a1", "a2")
    line.block("a1", 0, ["k1", "k2"])
    line.block("a2", 0, ["k2"])

    assert turns(line, 9) == []
    assert not line.notice("a1", -5, 0)
    assert not line.room(["other"], 0)
    assert line.room(["k1"], 0)
    assert turns(line, 9) == [("a1", 9)]
    assert line.room(["k2"], 0)
    assert [turn.partition for turn in turns(line, 9)] == ["a1", "a2"]


def test_whoever_has_waited_longest_for_room_is_first() -> None:
    line = line_of("a1", "a2")
    line.block("a1", 7, ["k"])
    line.block("a2", 3, ["k"])

    line.room(["k"], 10)

    assert [turn.partition for turn in turns(line, 9, now=10)] == ["a2", "a1"]


def test_a_recheck_looks_at_all_that_had_no_room() -> None:
    line = line_of("a1", "b1")
    line.block("a1", 0, ["k1"])
    line.block("b1", 0, ["k2"])

    line.recheck(0)

    assert sorted(turn.partition for turn in turns(line)) == ["a1", "b1"]
    assert line.blocked == {}


def test_a_partition_of_a_function_that_becomes_known_stands_in_the_line_of_its_app() -> None:
    """Another replica tells of a job before this one has read the functions: there is no slot of the app for it."""
    known: dict[str, str] = {}
    line = WaitingLine(lambda partition: known.get(partition, partition))
    line.notice("f1", 0, 0)
    line.notice("f2", 0, 0)

    known |= {"f1": "app", "f2": "app"}

    assert not line.has_turn({"app": 0}.__getitem__, 0)
    assert line.others_wait("f1", 0)
    assert line.turns({"app": 1}.__getitem__, 0, count_max=9, jobs_max=9) == [("f1", 1)]
    assert line.is_ready("app", 0)
    assert not line.is_ready("f1", 0)


def test_others_wait_only_where_they_could_go_at_once() -> None:
    line = line_of("a1")
    assert not line.others_wait("a1", 0)
    line.notice("b1", 0, 0)
    assert not line.others_wait("a1", 0)
    line.notice("a2", 5, 0)
    assert not line.others_wait("a1", 4)
    assert line.others_wait("a1", 5)
    line.block("a2", 5, ["k"])
    assert not line.others_wait("a1", 5)


# -- against a model ------------------------------------------------------------------------------------------------

PARTITIONS = ("a1", "a2", "a3", "b1", "b2", "c1")
partitions = st.sampled_from(PARTITIONS)
keys_of = st.sampled_from(["k1", "k2", "k3"])


@dataclass
class Known:
    """What is known of a partition: since when it has work, and the keys that it waits for."""

    due_at: int
    keys: frozenset[str] = field(default_factory=frozenset)


class Lines(RuleBasedStateMachine):
    """Whatever is noted, whoever has work and room gets a turn, and nobody else does."""

    @initialize()
    def begin(self) -> None:
        self.line, self.now = WaitingLine(lane_of), 0
        self.model: dict[str, Known] = {}

    @rule(partition=partitions, after=st.integers(-3, 5))
    def notice(self, partition: str, after: int) -> None:
        known, due_at = self.model.get(partition), self.now + after
        is_news = self.line.notice(partition, due_at, self.now)
        assert is_news == (known is None or (due_at < known.due_at and not known.keys))
        if known is None or due_at < known.due_at:
            self.model[partition] = Known(due_at, known.keys if known is not None else frozenset())

    @rule(partition=partitions, after=st.none() | st.integers(-3, 5))
    def set(self, partition: str, after: int | None) -> None:
        self.line.set(partition, self.now + after if after is not None else None, self.now)
        self.model.pop(partition, None)
        if after is not None:
            self.model[partition] = Known(self.now + after)

    @rule(partition=partitions, keys=st.sets(keys_of, min_size=1))
    def block(self, partition: str, keys: set[str]) -> None:
        self.line.block(partition, self.now, keys)
        self.model[partition] = Known(self.now, frozenset(keys))

    @rule(keys=st.sets(keys_of))
    def room(self, keys: set[str]) -> None:
        freed = [known for known in self.model.values() if known.keys & keys]
        assert self.line.room(keys, self.now) == bool(freed)
        for known in freed:
            known.keys = frozenset()

    @rule()
    def recheck(self) -> None:
        self.line.recheck(self.now)
        for known in self.model.values():
            known.keys = frozenset()

    @rule(by=st.integers(-2, 4))
    def time_goes_on(self, by: int) -> None:
        self.now += by

    @precondition(lambda self: self.ready())
    @rule(free=st.integers(1, 3), count_max=st.integers(1, 3))
    def everybody_has_a_turn(self, free: int, count_max: int) -> None:
        """Within a round for each place in each lane, each of the ready ones has had one."""
        ready, had = self.ready(), set[str]()
        places = Counter(lane_of(partition) for partition in PARTITIONS)
        for _ in range(len(places) * max(places.values())):
            found = turns(self.line, free, now=self.now, count_max=count_max)
            assert len(found) <= count_max
            for lane in {lane_of(turn.partition) for turn in found}:
                assert sum(turn.limit for turn in found if lane_of(turn.partition) == lane) <= free
            had |= {turn.partition for turn in found}
        assert had >= ready

    def ready(self) -> set[str]:
        return {partition for partition, known in self.model.items() if known.due_at <= self.now and not known.keys}

    @invariant()
    def it_knows_what_is_next(self) -> None:
        later = [known.due_at for known in self.model.values() if known.due_at > self.now and not known.keys]
        ready = self.ready()
        # Once ready, a partition stays so where the clock goes back: a time that is too early costs one query.
        assert self.line.is_idle(self.now) <= (not ready)
        assert self.line.has_turn(lambda _: 1, self.now) >= bool(ready)
        next_at = self.line.next_at()
        if later and self.line.is_idle(self.now):
            assert next_at == min(later)
        assert set(self.line.blocked) == {partition for partition, known in self.model.items() if known.keys}


LinesTest = Lines.TestCase
LinesTest.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(counts=st.lists(st.integers(1, 30), min_size=2, max_size=6), free=st.integers(1, 5))
def test_a_flood_in_one_partition_delays_another_by_no_more_than_a_round(counts: list[int], free: int) -> None:
    """Each partition has so many jobs; whoever has fewest is done within rounds in which each had as many turns."""
    left = {f"a{number}": count for number, count in enumerate(counts)}
    line = line_of(*left)
    served: dict[str, int] = dict.fromkeys(left, 0)
    while left:
        for partition, limit in turns(line, free):
            done = min(limit, left[partition])
            served[partition] += done
            left[partition] -= done
            if left[partition] == 0:
                del left[partition]
                line.set(partition, None, 0)
        waiting = [served[partition] for partition in left]
        assert not waiting or max(waiting) - min(waiting) <= 1
