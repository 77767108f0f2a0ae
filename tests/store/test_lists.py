"""Lists: newest first, by filter, page by page."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from stepwell.engine.core.model import Run, RunStatus
from stepwell.engine.core.trigger import internal_event
from stepwell.engine.ids import ulid_text
from stepwell.limits import PREVIEWED_BYTES_MAX
from stepwell.protocol.ids import EnvironmentId, EventId, RunId, ulid_ms
from stepwell.protocol.sync import Trigger
from stepwell.store.found import EventFilter, RunFilter
from stepwell.store.interface import Store
from tests.store.database import Worker
from tests.unit.engine.making import DEV, T0, error, event_of, function_of, result


def event_at(number: int) -> EventId:
    """Return the id of an event of ``busy``: of the time at which it came, as in life."""
    return EventId(ulid_text(T0 + number * 1_000, number.to_bytes(10, "big")))


@pytest.fixture
async def busy(worker: Worker) -> Worker:
    """A replica with runs of two functions in every status, of events a (1 to 6) and b (7, 8)."""
    numbers = itertools.count(1)
    worker.new_id = lambda: ulid_text(worker.now, next(numbers).to_bytes(10, "big"))
    await worker.sync("app", function_of(), function_of("app-g", triggers=[Trigger(event="b")]))
    for number in range(1, 9):
        worker.now = T0 + number * 1_000
        event = event_of(number, "a" if number < 7 else "b", ts=worker.now, id="same" if number in (5, 6) else None)
        event = msgspec.structs.replace(event, id=event_at(number))
        _, [intake] = await worker.ingest(event, is_leased=number < 5)
        run, job = intake.runs[0], intake.jobs[0]
        if number == 1:
            await worker.reply(run.id, job, result())
        elif number == 2:
            await worker.reply(run.id, job, error(no_retry=True))
        elif number == 3:
            await worker.store.submit(await worker.cancellation(run.id))
        elif number == 4:
            await worker.reply(run.id, job, error())
    return worker


async def listed(store: Store, **fields: object) -> list[str]:
    """List runs, each as the number of its event."""
    which = RunFilter(DEV)._replace(**fields)
    return [run.event_id[-1] for run in await store.list_runs(which)]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, "87654321"),
        ({"limit": 3}, "876"),
        ({"function_ids": (function_of().id,)}, "654321"),
        ({"function_ids": (function_of("app-g").id,)}, "87"),
        ({"function_ids": ("unknown",)}, ""),
        ({"statuses": frozenset([RunStatus.QUEUED])}, "875"),
        ({"statuses": frozenset([RunStatus.RUNNING])}, "4"),
        ({"statuses": frozenset([RunStatus.COMPLETED])}, "1"),
        ({"statuses": frozenset([RunStatus.FAILED])}, "2"),
        ({"statuses": frozenset([RunStatus.CANCELLED])}, "3"),
        ({"statuses": frozenset([RunStatus.SKIPPED])}, "6"),
        ({"event_id": event_at(4)}, "4"),
        ({"event_name": "b"}, "87"),
        ({"event_name": "unknown"}, ""),
        ({"event_name": "a", "statuses": frozenset([RunStatus.QUEUED])}, "5"),
        ({"queued_from": T0 + 3_000}, "876543"),
        ({"queued_until": T0 + 3_000}, "21"),
        ({"queued_from": T0 + 3_000, "queued_until": T0 + 5_000, "function_ids": (function_of().id,)}, "43"),
        ({"environment": "other"}, ""),
    ],
)
async def test_runs_are_listed_by_filter(busy: Worker, fields: dict[str, object], found: str) -> None:
    assert "".join(await listed(busy.store, **fields)) == found


async def test_common_event_names_are_found_too(busy: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.store.lists.RARE_EVENTS_MAX", 3)

    assert "".join(await listed(busy.store, event_name="a")) == "654321"
    assert "".join(await listed(busy.store, event_name="b")) == "87"


async def test_pages_of_runs_follow_each_other_without_gaps_whatever_comes_in_meanwhile(busy: Worker) -> None:
    seen: list[Run] = []
    before: str | None = None
    while page := await busy.store.list_runs(RunFilter(DEV, limit=3, before=before)):
        seen += page
        before = page[-1].id
        await busy.ingest(event_of(100 + len(seen)))

    assert [run.event_id[-1] for run in seen] == list("87654321")


async def named(store: Store, **fields: object) -> str:
    which = EventFilter(DEV)._replace(**fields)
    return "".join(event.id[-1] for event in await store.list_events(which))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, "87654321"),
        ({"limit": 2}, "87"),
        ({"name": "b"}, "87"),
        ({"name": "a", "limit": 2}, "65"),
        ({"before": event_at(3)}, "21"),
        ({"received_from": T0 + 6_000}, "876"),
        ({"received_until": T0 + 3_000}, "21"),
        ({"with_internal": True, "limit": 1}, "9"),
        ({"name": "inngest/x", "with_internal": True}, "9"),
        ({"environment": "other"}, ""),
    ],
)
async def test_events_are_listed_by_filter(busy: Worker, fields: dict[str, object], found: str) -> None:
    internal = internal_event("inngest/x", b"{}", id=event_at(9), environment=DEV, now=T0 + 9_000)
    await busy.ingest(internal)

    assert await named(busy.store, **fields) == found


async def test_names_of_events_are_found_by_id(busy: Worker) -> None:
    ids = [event_at(1), event_at(7), EventId("unknown")]

    assert await busy.store.event_names(ids) == {ids[0]: "a", ids[1]: "b"}
    assert await busy.store.event_names([]) == {}


async def test_what_is_not_there_is_none(worker: Worker) -> None:
    assert await worker.store.load_event(EventId("unknown")) is None
    assert await worker.store.load_run(RunId("unknown")) is None
    assert await worker.store.load_runs([]) == {}


async def test_a_run_is_shown_with_its_event_and_all_its_parts(busy: Worker) -> None:
    [run] = await busy.store.list_runs(RunFilter(DEV, statuses=frozenset([RunStatus.RUNNING])))

    detail = await busy.store.load_run(run.id)

    assert detail is not None
    assert detail.run == run
    assert detail.event == msgspec.structs.replace(event_of(4, ts=T0 + 4_000), id=event_at(4), has_own_id=False)
    assert len(detail.attempts) == len(detail.jobs) == 1


async def searched(store: Store, **fields: object) -> tuple[str, str | None]:
    found = await store.insight.find_runs(RunFilter(DEV)._replace(**fields))
    at = "".join(run.event_id[-1] for run in found.runs)
    return at, str((ulid_ms(found.searched_to) - T0) // 1_000) if found.searched_to is not None else None


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"statuses": frozenset([RunStatus.COMPLETED, RunStatus.FAILED])}, ("21", None)),
        ({"statuses": frozenset([RunStatus.FAILED, RunStatus.RUNNING, RunStatus.QUEUED])}, ("87542", None)),
        ({"statuses": frozenset([RunStatus.SKIPPED, RunStatus.CANCELLED])}, ("63", None)),
        ({"function_ids": ()}, ("", None)),
        ({"function_ids": (function_of().id, function_of("app-g").id), "limit": 3}, ("876", None)),
        ({"statuses": frozenset([RunStatus.QUEUED]), "function_ids": (function_of().id,)}, ("5", None)),
        ({"scanned_max": 4, "statuses": frozenset([RunStatus.COMPLETED])}, ("", "5")),
        ({"scanned_max": 4, "queued_until": T0 + 3_000}, ("21", None)),
        ({"scanned_max": 3, "statuses": frozenset([RunStatus.FAILED]), "queued_until": T0 + 3_000}, ("2", None)),
        ({"scanned_max": 1, "statuses": frozenset([RunStatus.QUEUED]), "event_name": "a"}, ("5", None)),
        ({"needles": (b'"name":"b"',)}, ("87", None)),
        ({"needles": (b'"name":"b"',), "scanned_max": 1, "limit": 2}, ("8", "8")),
    ],
)
async def test_a_search_looks_at_so_many_and_says_how_far_it_got(
    busy: Worker, fields: dict[str, object], found: tuple[str, str | None]
) -> None:
    assert await searched(busy.store, **fields) == found


async def test_runs_are_found_by_their_ids(busy: Worker) -> None:
    runs = {run.event_id[-1]: run for run in await busy.store.list_runs(RunFilter(DEV))}

    found = await busy.store.insight.runs_by_id(DEV, [runs["2"].id, RunId("unknown"), runs["7"].id])

    assert [run.event_id[-1] for run in found.runs] == ["7", "2"]
    assert found.names == {event_at(2): "a", event_at(7): "b"}
    assert found.runs[1].output == runs["2"].output
    assert (await busy.store.insight.runs_by_id(EnvironmentId("other"), [runs["2"].id])).runs == []
    assert (await busy.store.insight.runs_by_id(DEV, [])).runs == []


async def test_bodies_of_small_events_are_read_at_once(worker: Worker) -> None:
    body, large = b'{"data":{"n":1}}', b'{"data":"' + b"x" * PREVIEWED_BYTES_MAX + b'"}'
    made = [(1, body, b'{"n":1.0}'), (2, large, None), (3, body, None)]
    events = [
        msgspec.structs.replace(event_of(number), id=event_at(number), body=body, original=original)
        for number, body, original in made
    ]
    await worker.ingest(*events)

    small = worker.store.insight.small_events
    assert await small([event.id for event in events]) == {event_at(1): (body, b'{"n":1.0}'), event_at(3): (body, None)}
    assert await small([]) == {}


async def test_events_are_found_with_their_runs_and_without_bodies(busy: Worker) -> None:
    found = await busy.store.insight.find_events(EventFilter(DEV, limit=2))
    some = await busy.store.insight.events_by_id(DEV, [event_at(1), EventId("unknown")])
    broken_off = await busy.store.insight.find_events(EventFilter(DEV, needles=(b"nowhere",), scanned_max=3))

    assert [event.id for event in found.events] == [event_at(8), event_at(7)]
    assert [event.body for event in found.events] == [b"", b""]
    assert [(run.function_id, run.status) for run in found.runs[event_at(8)]] == [
        (function_of("app-g").id, RunStatus.QUEUED)
    ]
    assert [event.id for event in some.events] == [event_at(1)]
    assert (broken_off.events, broken_off.searched_to) == ([], event_at(6))


async def test_contents_are_read_up_to_so_many_bytes(busy: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {run.event_id[-1]: run for run in await busy.store.list_runs(RunFilter(DEV))}
    ids = [runs[number].id for number in "821"]
    size = len(event_of(8, "b", ts=T0 + 8_000).body)

    monkeypatch.setattr("stepwell.store.lists.WHERE_BYTES_MAX", size)
    one, contents = await busy.store.insight.run_contents(ids)
    first, bodies = await busy.store.insight.event_bodies([event_at(8), event_at(7)])
    monkeypatch.setattr("stepwell.store.lists.WHERE_BYTES_MAX", 1)
    at_least, _ = await busy.store.insight.run_contents(ids)
    monkeypatch.undo()
    every, all_contents = await busy.store.insight.run_contents(ids)

    assert (one, first, at_least, every) == (1, 1, 1, 3)
    assert (list(contents), list(bodies)) == ([runs["8"].id], [event_at(8)])
    assert [all_contents[id].output for id in ids] == [None, runs["2"].output, runs["1"].output]
