"""What changed is told in parts that fit into notifications."""

from __future__ import annotations

import msgspec

from stepwell.protocol.ids import EventId, ReplicaId, RunId
from stepwell.store.news import Changed
from stepwell.store.postgres_news import parts
from tests.unit.engine.making import ulid

PAYLOAD_BYTES_MAX = 8_000
RUNS = [RunId(ulid(number)) for number in range(500)]
EVENTS = [EventId(ulid(number, "E")) for number in range(500)]


def test_what_fits_is_one_part() -> None:
    changed = Changed(runs=RUNS[:3], has_more_runs=True)

    assert parts(changed) == [changed]
    assert parts(Changed(is_doubtful=True)) == [Changed(is_doubtful=True)]


def test_what_does_not_fit_is_told_in_parts_that_say_all_of_it_once() -> None:
    changed = Changed(
        new_runs=RUNS[:250], runs=RUNS[250:], events=EVENTS, logged=RUNS[:9], has_more_events=True, to=ReplicaId("r")
    )

    made = parts(changed)

    assert all(len(msgspec.json.encode(part)) < PAYLOAD_BYTES_MAX - 100 for part in made)
    assert [id for part in made for id in part.new_runs] == RUNS[:250]
    assert [id for part in made for id in part.runs] == RUNS[250:]
    assert [id for part in made for id in part.events] == EVENTS
    assert [id for part in made for id in part.logged] == RUNS[:9]
    assert [part.has_more_events for part in made] == [True] + [False] * (len(made) - 1)
    assert {part.to for part in made} == {ReplicaId("r")}
