"""Large requests: what a transaction locks at once is bounded, and still keeps others out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from stepwell.limits import EVENTS_PER_REQUEST_MAX, LOCKS_MAX
from stepwell.store.interface import Store
from stepwell.store.locks import locks_of
from stepwell.store.request import IngestRequest, Verdict
from tests.store.database import Worker
from tests.unit.engine.making import function_of

KEYED: dict[str, Any] = {"singleton": {"mode": "skip", "key": "event.data.k"}}


def ingestion(worker: Worker, count: int, *, first: int = 1) -> IngestRequest:
    """Make a request whose events have keys of their own."""
    events = (worker.event(first + number, data={"k": number}) for number in range(count))
    return worker.ingestion(*(worker.intake(event) for event in events))


async def test_a_large_request_locks_everything_and_others_share_that(store: Store) -> None:
    worker = await Worker(store).begin(function_of(**KEYED))

    large, small = (locks_of([ingestion(worker, count)]) for count in (EVENTS_PER_REQUEST_MAX, 3))

    assert (len(large[0]), large[1]) == (1, [False])
    assert len(small[0]) == 5  # everything, a name, and three keys
    assert dict(zip(*small, strict=True))[large[0][0]] is True
    assert small[0] == sorted(small[0])
    assert locks_of([]) == ([], [])


@pytest.mark.parametrize("count", [LOCKS_MAX + 1, EVENTS_PER_REQUEST_MAX])
async def test_a_key_is_decided_on_once_though_large_and_small_requests_come_at_once(store: Store, count: int) -> None:
    worker = await Worker(store).begin(function_of(**KEYED))
    requests = [ingestion(worker, size, first=10_000 * number) for number, size in enumerate([count, *[20] * 12], 1)]
    futures: list[Awaitable[Any]] = []
    for request in requests:  # one by one, so that several writers have some
        futures.append(store.submit(request))
        await asyncio.sleep(0)

    results = [await future for future in futures]

    started = [len(request.intakes) - len(found.skipped) for request, found in zip(requests, results, strict=True)]
    assert {found.verdict for found in results} == {Verdict.COMMITTED}
    assert sum(started) == count
