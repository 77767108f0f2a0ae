"""Lists: newest first, by filter, page by page."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from stepwell.engine.core.model import Run, RunStatus
from stepwell.engine.core.trigger import internal_event
from stepwell.engine.ids import ulid_text
from stepwell.protocol.ids import EventId, RunId
from stepwell.protocol.sync import Trigger
from stepwell.store.interface import EventFilter, RunFilter, Store
from tests.store.database import Worker
from tests.unit.engine.making import DEV, T0, error, event_of, function_of, result, ulid


@pytest.fixture
async def busy(worker: Worker) -> Worker:
    """A replica with runs of two functions in every status, of events a (1 to 6) and b (7, 8)."""
    numbers = itertools.count(1)
    worker.new_id = lambda: ulid_text(worker.now, next(numbers).to_bytes(10, "big"))
    await worker.sync("app", function_of(), function_of("app-g", triggers=[Trigger(event="b")]))
    for number in range(1, 9):
        worker.now = T0 + number * 1_000
        event = event_of(number, "a" if number < 7 else "b", ts=worker.now, id="same" if number in (5, 6) else None)
        _, [intake] = await worker.ingest(event, is_leased=True)
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
        ({"event_id": event_of(4).id}, "4"),
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
        ({"before": event_of(3).id}, "21"),
        ({"received_from": T0 + 6_000}, "876"),
        ({"received_until": T0 + 3_000}, "21"),
        ({"with_internal": True, "limit": 1}, "9"),
        ({"name": "inngest/x", "with_internal": True}, "9"),
        ({"environment": "other"}, ""),
    ],
)
async def test_events_are_listed_by_filter(busy: Worker, fields: dict[str, object], found: str) -> None:
    internal = internal_event("inngest/x", b"{}", id=ulid(9, "E"), environment=DEV, now=T0 + 9_000)
    await busy.ingest(internal)

    assert await named(busy.store, **fields) == found


async def test_names_of_events_are_found_by_id(busy: Worker) -> None:
    ids = [event_of(1).id, event_of(7).id, EventId("unknown")]

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
    assert detail.event == msgspec.structs.replace(event_of(4, ts=T0 + 4_000), has_own_id=False)
    assert len(detail.attempts) == len(detail.jobs) == 1
