"""Lines and spans of runs: kept with their run up to a limit, read in their order, deleted with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from stepwell.engine.core.model import LogLine, Span, SpanStatus
from stepwell.engine.ids import ulid_text
from stepwell.limits import LOG_LATE_MS, LOG_LINES_PER_RUN_MAX, SPANS_PER_RUN_MAX
from stepwell.protocol.ids import AttemptId, EnvironmentId, FunctionId, LogId, RunId, SpanId, StepId
from stepwell.protocol.sync import Trigger
from stepwell.store import read_log
from stepwell.store.found import LogFilter
from stepwell.store.interface import Store
from stepwell.store.request import Logged, LogRequest
from tests.store.database import DEV, Database, Worker
from tests.store.past import KEPT_MS, LATE_MS, Past
from tests.unit.engine.making import event_of, function_of, result

UNKNOWN = RunId("01KAT3ZF00000000000000000Z")


@pytest.fixture
def past(worker: Worker, database: Database) -> Past:
    return Past(worker, database)


def line(run_id: RunId, number: int, message: str = "", **more: Any) -> LogLine:
    id = LogId(ulid_text(1_000 + number, bytes(10)))
    fields: dict[str, Any] = {"at": 5, "level": 20, "logger": "shop", "message": message or f"line {number}", **more}
    return LogLine(id=id, run_id=run_id, **fields)


def span(run_id: RunId, number: int, parent: str | None = None) -> Span:
    parent_id = SpanId(parent) if parent is not None else None
    return Span(run_id, SpanId(f"{number:016x}"), parent_id, f"span {number}", number, 1_500, SpanStatus.OK, b'{"a":1}')


async def write(store: Store, lines: Sequence[LogLine] = (), spans: Sequence[Span] = (), *, now: int = 0) -> Logged:
    outcome = await store.submit(LogRequest(lines, spans, now))
    assert outcome.logged is not None
    return outcome.logged


async def messages(store: Store, **which: Any) -> list[str]:
    page = await store.list_lines(LogFilter(DEV, **which))
    return [one.message for one in page.lines]


# -- what is kept -----------------------------------------------------------------------------------------------------


async def test_a_line_is_read_as_it_was_written_with_where_it_is_from(worker: Worker) -> None:
    run, _ = await worker.run(event_of())
    written = LogLine(
        id=LogId(ulid_text(1, bytes(10))),
        run_id=run.id,
        at=77,
        level=40,
        logger="shop.pay",
        message="no stöck ✗",
        attempt_id=AttemptId("0.0.1"),
        attempt=2,
        step_id=StepId("abc"),
        step="pay",
        fields=b'{"order":1}',
        is_replayed=True,
        span_id=SpanId("00f067aa0ba902b7"),
    )

    logged = await write(worker.store, [written])

    [found] = (await worker.store.list_lines(LogFilter(DEV, run_id=run.id, with_replayed=True))).lines
    assert [found] == list(logged.lines)
    assert (found.environment, found.function_id) == (DEV, run.function_id)
    assert msgspec.structs.replace(found, environment=EnvironmentId(""), function_id=FunctionId("")) == written


async def test_lines_of_a_run_that_is_not_there_are_passed_over_alone(worker: Worker) -> None:
    run, _ = await worker.run(event_of())

    logged = await write(worker.store, [line(UNKNOWN, 1), line(run.id, 2)], [span(UNKNOWN, 1), span(run.id, 2)])

    assert logged.runs == {run.id}
    assert await messages(worker.store, run_id=run.id) == ["line 2"]
    assert await worker.store.load_spans(UNKNOWN) == ([], {})
    assert await worker.store.count_lines(UNKNOWN) == 0


async def test_nothing_at_all_of_known_runs_writes_nothing(worker: Worker) -> None:
    logged = await write(worker.store, [line(UNKNOWN, 1)])

    assert (logged.runs, list(logged.lines)) == (frozenset(), [])


async def test_a_run_takes_lines_for_a_while_after_its_end(past: Past) -> None:
    run = await past.ended()

    late = await write(past.worker.store, [line(run.id, 1)], now=past.now + LOG_LATE_MS - 1)
    too_late = await write(past.worker.store, [line(run.id, 2)], now=past.now + LOG_LATE_MS)

    assert (late.runs, too_late.runs) == ({run.id}, frozenset())


async def test_a_run_keeps_so_many_lines_and_says_that_there_were_more(worker: Worker) -> None:
    store = worker.store
    run, _ = await worker.run(event_of())
    other, _ = await worker.run(event_of(2))
    for start in range(0, LOG_LINES_PER_RUN_MAX - 999, 999):
        await write(store, [line(run.id, start + number) for number in range(999)])
    room = LOG_LINES_PER_RUN_MAX - await store.count_lines(run.id)

    many = [line(run.id, LOG_LINES_PER_RUN_MAX + number) for number in range(room + 2)]
    over = await write(store, [*many, line(other.id, 20_000)])
    later = await write(store, [line(run.id, 30_000)])

    assert over.full_of_lines == later.full_of_lines == {run.id}
    assert [one.id for one in over.lines] == [one.id for one in many[: room + 1]] + [line(other.id, 20_000).id]
    assert "the most that are kept" in over.lines[room].message
    assert list(later.lines) == []
    assert await store.count_lines(run.id) == LOG_LINES_PER_RUN_MAX + 3
    last = await store.list_lines(LogFilter(DEV, run_id=run.id, before="Z", limit=2))
    assert [one.id for one in last.lines] == [many[room - 1].id, many[room].id]


async def test_spans_are_known_by_their_ids_and_bounded(worker: Worker) -> None:
    store = worker.store
    run, _ = await worker.run(event_of())

    await write(store, spans=[span(run.id, 2, "a" * 16), span(run.id, 1)])
    await write(store, spans=[span(run.id, 2)])  # its exporter had no answer
    assert await store.load_spans(run.id) == ([span(run.id, 1), span(run.id, 2, "a" * 16)], {"0.0.1": "step"})
    over = await write(store, spans=[span(run.id, 10 + number) for number in range(SPANS_PER_RUN_MAX)])

    assert over.full_of_spans == {run.id}
    assert len((await store.load_spans(run.id))[0]) == SPANS_PER_RUN_MAX - 1  # one came twice


# -- what is read -----------------------------------------------------------------------------------------------------


async def test_attributes_of_spans_are_shown_up_to_a_number_of_bytes(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_log, "SPANS_SHOWN_BYTES_MAX", 50)
    run, _ = await worker.run(event_of())
    sizes = (10, 30, 20, 5)
    large = [
        msgspec.structs.replace(span(run.id, number), attributes=b'{"a":"%b"}' % (b"x" * (size - 8)))
        for number, size in enumerate(sizes)
    ]
    bare = msgspec.structs.replace(span(run.id, 9), attributes=None)
    await write(worker.store, spans=[*large, bare])

    shown, _ = await worker.store.load_spans(run.id)

    assert [one.id for one in shown] == [*(one.id for one in large), bare.id]
    assert [one.attributes for one in shown[:2]] == [one.attributes for one in large[:2]]
    assert shown[2].attributes == b'{"stepwell.left_out":"20 bytes of fields"}'
    assert shown[4].attributes is None


async def test_lines_of_a_run_come_in_their_order_page_by_page(worker: Worker) -> None:
    store = worker.store
    run, _ = await worker.run(event_of())
    await write(store, [line(run.id, number) for number in range(5)])
    which = LogFilter(DEV, run_id=run.id, limit=2)

    first = await store.list_lines(which)
    second = await store.list_lines(which._replace(after=first.next))
    third = await store.list_lines(which._replace(after=second.next))
    last = await store.list_lines(which._replace(before="Z"))
    before = await store.list_lines(which._replace(before=last.next))

    pages = [[one.message for one in page.lines] for page in (first, second, third, last, before)]
    assert pages == [["line 0", "line 1"], ["line 2", "line 3"], ["line 4"], ["line 3", "line 4"], ["line 1", "line 2"]]
    assert third.next is None
    assert before.next is not None


async def test_lines_of_all_runs_come_newest_first(worker: Worker) -> None:
    store = worker.store
    one, _ = await worker.run(event_of())
    two, _ = await worker.run(event_of(2))
    await write(store, [line((one, two)[number % 2].id, number) for number in range(5)])
    which = LogFilter(DEV, limit=2)

    first = await store.list_lines(which)
    second = await store.list_lines(which._replace(before=first.next))
    third = await store.list_lines(which._replace(before=second.next))
    newer = await store.list_lines(which._replace(after=third.lines[0].id))

    pages = [[line.message for line in page.lines] for page in (first, second, third, newer)]
    assert pages == [["line 4", "line 3"], ["line 2", "line 1"], ["line 0"], ["line 2", "line 1"]]
    assert third.next is None


async def test_lines_are_found_by_what_they_say_and_where_they_are_from(store: Store) -> None:
    worker = await Worker(store).begin(function_of(), function_of("app-g", triggers=[Trigger(event="b")]))
    one, _ = await worker.run(event_of())
    two, _ = await worker.run(event_of(2, "b"))
    step = {"step_id": StepId("s1"), "attempt_id": AttemptId("0.0.1")}
    await write(
        store,
        [
            line(one.id, 1, "Paid 100%_of it", level=10),
            line(one.id, 2, "paid 100 of it", level=30, **step),
            line(two.id, 3, "PAID", level=40, is_replayed=True),
            line(two.id, 4, "nothing", level=40),
        ],
    )

    assert await messages(store, run_id=one.id, text="paid 100") == ["Paid 100%_of it", "paid 100 of it"]
    assert await messages(store, text="100%_OF") == ["Paid 100%_of it"]
    assert await messages(store, text="paid", with_replayed=True) == ["PAID", "paid 100 of it", "Paid 100%_of it"]
    assert await messages(store, level_min=30) == ["nothing", "paid 100 of it"]
    assert await messages(store, function_id=two.function_id) == ["nothing"]
    assert await messages(store, run_id=one.id, step_id="s1") == ["paid 100 of it"]
    assert await messages(store, run_id=one.id, attempt_id="0.0.1") == ["paid 100 of it"]
    assert await messages(store, run_id=one.id, attempt_id="0.0.2") == []
    assert await messages(store, taken_from=ulid_text(1_002, bytes(10)), taken_until=ulid_text(1_004, bytes(10))) == [
        "paid 100 of it"
    ]


@pytest.mark.parametrize("text", ["Ärger", "100% \\_ 'İ'", "日本"])
async def test_letters_beyond_ascii_are_found_as_they_were_written(worker: Worker, text: str) -> None:
    run, _ = await worker.run(event_of())
    await write(worker.store, [line(run.id, 1, f"so viel {text}!"), line(run.id, 2, "so viel")])

    assert await messages(worker.store, text=text) == [f"so viel {text}!"]


@pytest.mark.parametrize(
    "where", [{"step_id": "nope"}, {"attempt_id": "nope"}, {"level_min": 50}, {"text": "x"}, {"with_replayed": False}]
)
async def test_whatever_lines_are_looked_for_there_is_a_limit(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, where: dict[str, Any]
) -> None:
    monkeypatch.setattr(read_log, "LOG_SCANNED_MAX", 3)
    run, _ = await worker.run(event_of())
    await write(worker.store, [line(run.id, number, is_replayed=True) for number in range(8)])

    page = await worker.store.list_lines(LogFilter(DEV, with_replayed=True)._replace(**where))

    assert (page.lines, page.next) == ([], ulid_text(1_005, bytes(10)))


async def test_a_search_in_a_time_begins_there(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_log, "LOG_SCANNED_MAX", 3)
    run, _ = await worker.run(event_of())
    await write(worker.store, [line(run.id, number) for number in range(20)])
    among = {"taken_from": ulid_text(1_004, bytes(10)), "taken_until": ulid_text(1_007, bytes(10)), "text": "line"}

    back = await messages(worker.store, **among)
    ahead = await messages(worker.store, after=ulid_text(1_000, bytes(10)), **among)

    assert back == ["line 6", "line 5", "line 4"]
    assert sorted(ahead, reverse=True) == back


async def test_a_search_looks_at_so_many_lines_at_a_time(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_log, "LOG_SCANNED_MAX", 3)
    store = worker.store
    run, _ = await worker.run(event_of())
    await write(store, [line(run.id, number, "needle" if number == 1 else "") for number in range(8)])
    which = LogFilter(DEV, text="needle")

    first = await store.list_lines(which)
    second = await store.list_lines(which._replace(before=first.next))
    third = await store.list_lines(which._replace(before=second.next))
    ahead = await store.list_lines(which._replace(after="0"))

    assert [len(page.lines) for page in (first, second, third, ahead)] == [0, 0, 1, 1]
    assert [page.next is None for page in (first, second, third, ahead)] == [False, False, True, False]


# -- what goes --------------------------------------------------------------------------------------------------------


async def test_lines_and_spans_go_with_their_run(past: Past) -> None:
    run = await past.ended()
    await write(past.worker.store, [line(run.id, 1)], [span(run.id, 1)], now=past.now)
    assert past.counts("log", "span", "log_tally") == {"log": 1, "span": 1, "log_tally": 1}

    past.now += KEPT_MS + LATE_MS
    await past.sweep()

    assert past.counts("run", "log", "span", "log_tally") == {"run": 0, "log": 0, "span": 0, "log_tally": 0}


async def test_a_run_with_very_many_lines_goes_in_pieces(past: Past) -> None:
    run, job = await past.started()
    for start in range(0, 5_000, 1_000):
        await write(past.worker.store, [line(run.id, start + n) for n in range(1_000)], [span(run.id, start + 1)])
    await past.worker.reply(run.id, job, result(b"1"))
    young, _ = await past.started()
    await write(past.worker.store, [line(young.id, 9_000)])

    past.now += KEPT_MS + LATE_MS
    pruned = await past.sweep()

    assert pruned.rows >= 5_000
    assert past.counts("run", "log", "span", "log_tally") == {"run": 1, "log": 1, "span": 0, "log_tally": 1}


async def test_lines_weigh_what_deleting_them_takes(past: Past) -> None:
    run = await past.ended()
    await write(past.worker.store, [line(run.id, n, "x" * 1_000) for n in range(10)], [span(run.id, 1)], now=past.now)
    store = past.worker.store

    [aged] = await store.walk_runs(run.function_id, after="", ended_before=past.now, limit=10, count_max=2_000)

    assert aged.row_count == 2 + 1 + 2 + 10 + 1  # with its event, its step, its attempts
    assert 10_000 < aged.byte_count < 10_500
