"""What a page is told of what changed, by its topics."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.engine.core.model import LogLine
from stepwell.errors import UsageError
from stepwell.limits import STREAM_ITEMS_MAX, STREAM_LINES_BYTES_MAX, STREAM_TOPICS_MAX
from stepwell.protocol.ids import EventId, LogId, RunId
from stepwell.server.live.changes import Batch, Told, Topics, Wanted, read_topics, told, told_to_others
from stepwell.store.news import Changed, Viewing

NOBODY = Wanted()

A, B = RunId("a"), RunId("b")
E = EventId("e")


def batch_of(*runs: RunId, new: tuple[RunId, ...] = (), events: tuple[EventId, ...] = ()) -> Batch:
    made = Batch()
    for id in new:
        made.add_run(id, NOBODY, is_new=True)
    for id in runs:
        made.add_run(id, NOBODY)
    for id in events:
        made.add_event(id)
    return made


def told_of(**what: Any) -> Told:
    """A message that tells this and nothing else."""
    return Told({}, [], has_functions=False, lines=[], is_partial=False)._replace(**what)


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

    assert told([batch], Topics(runs=True)) == told_of(runs={B: True, A: False})
    assert told([batch], Topics(run_ids=frozenset((A,)))) == told_of(runs={A: False})
    assert told([batch], Topics(events=True)) == told_of(events=[E])
    assert told([batch], Topics(functions=True)) == told_of(has_functions=True)
    assert told([batch], Topics(run_ids=frozenset((RunId("c"),)))) is None


def test_what_changed_in_several_batches_is_one_message_in_which_a_new_run_stays_new() -> None:
    message = told([batch_of(new=(A,)), batch_of(A, B)], Topics(runs=True))

    assert message == told_of(runs={A: True, B: False})


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
    batch.add_run(A, Wanted(run_ids=frozenset((A,))))

    message = told([batch], Topics(run_ids=frozenset((A,))))

    assert message == told_of(runs={A: False})


def test_doubt_is_for_everybody() -> None:
    batch = Batch()
    batch.is_doubtful = True

    assert told([batch], Topics(run_ids=frozenset((A,)))) == told_of(is_partial=True)


def test_other_replicas_are_told_what_their_pages_ask_for() -> None:
    batch = batch_of(A, new=(B,), events=(E,))

    assert told_to_others(batch, [Viewing(runs=True)]) == Changed(new_runs=[B], runs=[A], logged=[])
    assert told_to_others(batch, [Viewing(events=True), Viewing(run_ids=(B,))]) == Changed(
        new_runs=[B], runs=[], events=[E], logged=[]
    )
    assert told_to_others(batch, [Viewing(run_ids=(RunId("c"),))]) is None
    assert told_to_others(full_batch(), [Viewing(run_ids=(A,))]) is None
    assert told_to_others(full_batch(), [Viewing(runs=True)]) == Changed(
        runs=[RunId(f"{number}") for number in range(STREAM_ITEMS_MAX)], new_runs=[], logged=[], has_more_runs=True
    )


def test_who_is_told_all_runs_is_told_each() -> None:
    assert Viewing(runs=True).has_all_of(Viewing(run_ids=(A,)))
    assert Viewing(run_ids=(A, B)).has_all_of(Viewing(run_ids=(A,)))
    assert not Viewing(run_ids=(A,)).has_all_of(Viewing(run_ids=(A, B)))
    assert not Viewing(runs=True).has_all_of(Viewing(runs=True, events=True))


def line_of(number: int, run_id: RunId = A, size: int = 1) -> LogLine:
    return LogLine(id=LogId(f"{number}"), run_id=run_id, at=0, level=20, logger="", message="x" * size)


def batch_of_lines(wanted: Wanted, *lines: LogLine) -> Batch:
    made = Batch()
    for line in lines:
        made.add_line(line, wanted)
    return made


def test_lines_are_kept_where_somebody_asks_for_them() -> None:
    some = (line_of(1), line_of(2, B))

    assert batch_of_lines(NOBODY, *some).lines == []
    assert batch_of_lines(Wanted(log_run_ids=frozenset((B,))), *some).lines == [some[1]]
    assert batch_of_lines(Wanted(has_logs=True), *some).lines == [*some]


def test_a_page_of_one_run_hears_its_lines_all_the_same_beside_a_flood() -> None:
    both = Wanted(has_logs=True, log_run_ids=frozenset((A,)))
    flood = [line_of(number, B) for number in range(STREAM_ITEMS_MAX + 1)]
    batch = batch_of_lines(both, *flood, line_of(999))

    of_one = told([batch], Topics(log_run_ids=frozenset((A,))))
    of_all = told([batch], Topics(logs=True))

    assert of_one == told_of(lines=[line_of(999)])
    assert of_all is not None
    assert (len(of_all.lines), of_all.is_partial) == (STREAM_ITEMS_MAX, True)


def test_a_flood_of_one_run_is_partial_for_its_page() -> None:
    own = Topics(log_run_ids=frozenset((A,)))
    wanted = Wanted(log_run_ids=frozenset((A,)))
    just = told([batch_of_lines(wanted, *(line_of(number) for number in range(STREAM_ITEMS_MAX)))], own)
    more = told([batch_of_lines(wanted, *(line_of(number) for number in range(STREAM_ITEMS_MAX + 1)))], own)

    assert just is not None
    assert more is not None
    assert (len(just.lines), just.is_partial) == (STREAM_ITEMS_MAX, False)
    assert (len(more.lines), more.is_partial) == (STREAM_ITEMS_MAX, True)


def test_lines_are_bounded_by_their_size() -> None:
    size = STREAM_LINES_BYTES_MAX // 2
    batch = batch_of_lines(Wanted(has_logs=True), *(line_of(number, size=size) for number in range(3)))

    message = told([batch], Topics(logs=True))

    assert message is not None
    assert (len(message.lines), message.is_partial) == (2, True)


def test_other_replicas_are_told_which_runs_have_lines() -> None:
    batch = batch_of_lines(NOBODY, line_of(1), line_of(2, B))

    assert told_to_others(batch, [Viewing(runs=True)]) is None
    assert told_to_others(batch, [Viewing(log_run_ids=(B,))]) == Changed(runs=[], new_runs=[], logged=[B])
    assert told_to_others(batch, [Viewing(logs=True)]) == Changed(runs=[], new_runs=[], logged=[A, B])
