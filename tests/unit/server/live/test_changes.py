"""What a page is told of what changed, by its topics."""

from __future__ import annotations

import pytest

from stepwell.errors import UsageError
from stepwell.limits import STREAM_ITEMS_MAX, STREAM_TOPICS_MAX
from stepwell.protocol.ids import EventId, RunId
from stepwell.server.live.changes import Batch, Changes, RunChange, Topics, read_topics, told, told_to_others
from stepwell.store.interface import Changed, Viewing

A, B = RunId("a"), RunId("b")
E = EventId("e")


def batch_of(*runs: RunId, new: tuple[RunId, ...] = (), events: tuple[EventId, ...] = ()) -> Batch:
    made = Batch()
    for id in new:
        made.add_run(id, is_new=True, is_asked_for=False)
    for id in runs:
        made.add_run(id, is_new=False, is_asked_for=False)
    for id in events:
        made.add_event(id)
    return made


def full_batch() -> Batch:
    """A batch in which one more run changed than it names."""
    return batch_of(*(RunId(f"{number}") for number in range(STREAM_ITEMS_MAX + 1)))


def test_topics_are_read() -> None:
    assert read_topics("runs,run:a,logs:b,functions") == Topics(
        runs=True, functions=True, run_ids=frozenset((A,)), log_run_ids=frozenset((B,))
    )
    assert read_topics("events,logs") == Topics(events=True, logs=True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "needs topics"),
        (",", "needs topics"),
        ("runs,nope", "'nope'"),
        ("run:", "'run:'"),
        (",".join(["runs"] * (STREAM_TOPICS_MAX + 1)), f"not {STREAM_TOPICS_MAX + 1}"),
    ],
)
def test_topics_that_are_not_there_are_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_topics(text)


def test_a_page_is_told_what_it_asks_for_and_nothing_else() -> None:
    batch = batch_of(A, new=(B,), events=(E,))
    batch.has_functions = True

    assert told([batch], Topics(runs=True)) == Changes(runs=[RunChange(B, True), RunChange(A, False)], events=[])
    assert told([batch], Topics(run_ids=frozenset((A,)))) == Changes(runs=[RunChange(A, False)], events=[])
    assert told([batch], Topics(events=True)) == Changes(runs=[], events=[E])
    assert told([batch], Topics(functions=True)) == Changes(runs=[], events=[], functions=True)
    assert told([batch], Topics(run_ids=frozenset((RunId("c"),)))) is None


def test_what_changed_in_several_batches_is_one_message_in_which_a_new_run_stays_new() -> None:
    message = told([batch_of(new=(A,)), batch_of(A, B)], Topics(runs=True))

    assert message == Changes(runs=[RunChange(A, True), RunChange(B, False)], events=[])


def test_more_runs_than_a_message_names_make_it_partial_for_those_who_ask_for_all() -> None:
    of_all = told([full_batch()], Topics(runs=True))

    assert of_all is not None
    assert (len(of_all.runs), of_all.is_partial) == (STREAM_ITEMS_MAX, True)
    assert told([full_batch()], Topics(run_ids=frozenset((A,)))) is None


def test_many_small_batches_are_no_longer_message_than_one() -> None:
    some = [batch_of(RunId(f"{number}"), events=(EventId(f"{number}"),)) for number in range(STREAM_ITEMS_MAX + 50)]

    message = told(some, Topics(runs=True, events=True))

    assert message is not None
    assert (len(message.runs), len(message.events), message.is_partial) == (STREAM_ITEMS_MAX, STREAM_ITEMS_MAX, True)


def test_as_many_runs_as_a_message_names_are_all() -> None:
    message = told([batch_of(*(RunId(f"{number}") for number in range(STREAM_ITEMS_MAX)))], Topics(runs=True))

    assert message is not None
    assert (len(message.runs), message.is_partial) == (STREAM_ITEMS_MAX, False)


def test_a_run_that_is_asked_for_by_its_id_is_named_in_a_full_batch() -> None:
    batch = full_batch()
    batch.add_run(A, is_new=False, is_asked_for=True)

    message = told([batch], Topics(run_ids=frozenset((A,))))

    assert message == Changes(runs=[RunChange(A, False)], events=[])


def test_doubt_is_for_everybody() -> None:
    batch = Batch()
    batch.is_doubtful = True

    assert told([batch], Topics(run_ids=frozenset((A,)))) == Changes(runs=[], events=[], is_partial=True)


def test_other_replicas_are_told_what_their_pages_ask_for() -> None:
    batch = batch_of(A, new=(B,), events=(E,))

    assert told_to_others(batch, [Viewing(runs=True)]) == Changed(new_runs=[B], runs=[A])
    assert told_to_others(batch, [Viewing(events=True), Viewing(run_ids=(B,))]) == Changed(
        new_runs=[B], runs=[], events=[E]
    )
    assert told_to_others(batch, [Viewing(run_ids=(RunId("c"),))]) is None
    assert told_to_others(full_batch(), [Viewing(run_ids=(A,))]) is None
    assert told_to_others(full_batch(), [Viewing(runs=True)]) == Changed(
        runs=[RunId(f"{number}") for number in range(STREAM_ITEMS_MAX)], new_runs=[], has_more_runs=True
    )


def test_who_is_told_all_runs_is_told_each() -> None:
    assert Viewing(runs=True).has_all_of(Viewing(run_ids=(A,)))
    assert Viewing(run_ids=(A, B)).has_all_of(Viewing(run_ids=(A,)))
    assert not Viewing(run_ids=(A,)).has_all_of(Viewing(run_ids=(A, B)))
    assert not Viewing(runs=True).has_all_of(Viewing(runs=True, events=True))
