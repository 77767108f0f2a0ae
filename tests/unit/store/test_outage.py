"""What begins and ends an outage: neither what was under way before, nor a beat that goes through where nothing else does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from stepwell.errors import StoreClosed, StoreUnavailable
from stepwell.store import group_commit
from stepwell.store.group_commit import ConcurrentGroupCommit, GroupCommit, NoRoom, Outage
from stepwell.store.request import BeatRequest, Request, Result, SettingRequest, Verdict
from tests.outages.site import until

DONE = Result(Verdict.COMMITTED)
FULL = StoreUnavailable("the disk is full")


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(group_commit, "time", made)
    return made


def events(logs: Sequence[EventDict]) -> list[str]:
    return [line["event"] for line in logs]


def test_an_outage_and_its_end_are_one_line_each(clock: Time) -> None:
    outage = Outage(lambda: True)
    with capture_logs() as logs:
        for _ in range(3):
            outage.saw(FULL)
            clock.now += 1
        assert outage.reason == "the disk is full"
        for _ in range(3):
            outage.used(clock.now)

    assert outage.reason is None
    assert events(logs) == ["database.unavailable", "database.available"]
    assert logs[1]["after_s"] == 3.0


def test_a_success_that_began_before_the_last_failure_does_not_end_it(clock: Time) -> None:
    outage = Outage(lambda: True)
    began_at = clock.now
    clock.now += 1
    outage.saw(FULL)
    clock.now += 1

    outage.used(began_at)

    assert outage.reason is not None
    outage.used(clock.now)
    assert outage.reason is None


@pytest.mark.parametrize(("later_s", "is_quiet", "is_over"), [(2, True, False), (3, True, True), (3, False, False)])
def test_a_beat_ends_an_outage_of_requests_only_when_none_are_tried_any_more(
    clock: Time, later_s: float, is_quiet: bool, is_over: bool
) -> None:
    outage = Outage(lambda: is_quiet)
    outage.saw(FULL)
    clock.now += later_s

    outage.used(clock.now, is_beat=True)

    assert (outage.reason is None) is is_over


def test_a_beat_ends_an_outage_of_beats_at_once(clock: Time) -> None:
    outage = Outage(lambda: True)
    outage.saw(FULL, is_beat=True)

    outage.used(clock.now, is_beat=True)

    assert outage.reason is None


# -- one writer -----------------------------------------------------------------------------------------------------


async def test_an_outage_that_nobody_tries_any_more_is_ended_by_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_PROBE_S", 0.02)
    monkeypatch.setattr(group_commit, "_QUIET_S", 0.0)
    is_full, probed = threading.Event(), threading.Event()
    is_full.set()

    def write(requests: Sequence[Request]) -> list[Result]:
        if isinstance(requests[0], BeatRequest):
            probed.set()
        if is_full.is_set():
            raise FULL
        return [DONE] * len(requests)

    commits = GroupCommit(write, probe=BeatRequest(0))
    commits.start()
    with pytest.raises(StoreUnavailable):
        await commits.submit(SettingRequest("key", ""))
    assert await asyncio.to_thread(probed.wait, 5)
    assert commits.outage is not None
    is_full.clear()

    await until(lambda: commits.outage is None, "it is over")
    await commits.stop()


# -- several writers ------------------------------------------------------------------------------------------------


class Writers:
    """Stands for the connections of several writers, of which only some are to be had."""

    def __init__(self, *connected: int) -> None:
        self.connected = set(connected)
        self.written: list[tuple[int, int]] = []
        self.hangs = False

    async def write(self, number: int, requests: Sequence[Request]) -> list[Result]:
        if self.hangs:
            await asyncio.Future()
        if number not in self.connected:
            raise NoRoom("too many connections")
        self.written.append((number, len(requests)))
        return [DONE] * len(requests)


def made_of(writers: Writers) -> tuple[ConcurrentGroupCommit, Outage]:
    outage = Outage(lambda: commits.is_idle)
    commits = ConcurrentGroupCommit(writers.write, 3, outage)
    commits.start()
    return commits, outage


async def test_writers_without_a_connection_leave_the_work_to_those_with_one() -> None:
    writers = Writers(1)
    commits, outage = made_of(writers)
    for _ in range(20):
        results = await asyncio.gather(*(commits.submit(SettingRequest(str(n), "")) for n in range(3)))
        assert results == [DONE] * 3

    assert {number for number, _ in writers.written} == {1}
    assert outage.reason is None
    await commits.stop()


async def test_when_no_writer_has_a_connection_requests_are_refused() -> None:
    commits, outage = made_of(Writers())

    with pytest.raises(NoRoom):
        await commits.submit(SettingRequest("key", ""))

    assert outage.reason == "too many connections"
    await commits.stop()


async def test_a_writer_that_rested_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_REST_S", 0.01)
    writers = Writers(0)
    commits, _ = made_of(writers)
    await asyncio.gather(*(commits.submit(SettingRequest(str(n), "")) for n in range(10)))
    writers.connected = {1, 2}

    async with asyncio.timeout(5):
        while {number for number, _ in writers.written} == {0}:
            await asyncio.gather(
                *(commits.submit(SettingRequest(str(n), "")) for n in range(3)), return_exceptions=True
            )
            await asyncio.sleep(0.01)
    await commits.stop()


async def test_what_a_silent_database_holds_up_is_given_up_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_STOP_S", 0.05)
    writers = Writers(0, 1, 2)
    writers.hangs = True
    commits, outage = made_of(writers)
    under_way = []
    for number in range(3):
        under_way.append(commits.submit(SettingRequest(str(number), "")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    waiting = commits.submit(SettingRequest("waiting", ""))

    await commits.stop()

    for future in (*under_way, waiting):
        assert isinstance(future.exception(), StoreClosed)
    assert outage.reason is None
