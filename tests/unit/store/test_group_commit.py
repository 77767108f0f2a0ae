"""Group commit: what waits is committed together, and one bad request takes none of the others with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from stepwell.errors import StoreClosed, StoreError
from stepwell.limits import COMMIT_BATCH_MAX
from stepwell.store.group_commit import ConcurrentGroupCommit, GroupCommit, Outage
from stepwell.store.request import Request, Result, SettingRequest, Verdict

DONE = Result(Verdict.COMMITTED)


class Writer:
    """Stands for the database: remembers its transactions, refuses those with a bad request, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.began = threading.Event()

    def write(self, requests: Sequence[Request]) -> list[Result]:
        names = [request.key for request in requests if isinstance(request, SettingRequest)]
        self.began.set()
        assert self.goes_on.wait(5)
        if any(name.startswith("bad") for name in names):
            raise ValueError("a constraint")
        if any(name.startswith("refused") for name in names):
            raise StoreError("the disk is full")
        self.batches.append(names)
        return [DONE] * len(requests)


def setting(name: str) -> SettingRequest:
    return SettingRequest(name, "")


@pytest.fixture(params=[True, False], ids=["threaded", "on the loop"])
def is_threaded(request: pytest.FixtureRequest) -> bool:
    return request.param


async def test_requests_that_wait_are_one_transaction(is_threaded: bool) -> None:
    writer = Writer()
    commits = GroupCommit(writer.write, is_threaded=is_threaded)
    commits.start()
    if is_threaded:
        writer.goes_on.clear()
        first = [commits.submit(setting("first"))]
        assert await asyncio.to_thread(writer.began.wait, 5)
    else:
        first = []

    waiting = [commits.submit(setting(name)) for name in "abc"]
    writer.goes_on.set()
    results = await asyncio.gather(*first, *waiting)
    await commits.stop()

    assert all(result is DONE for result in results)
    assert writer.batches[-1] == ["a", "b", "c"]


async def test_a_batch_has_a_limit() -> None:
    writer = Writer()
    commits = GroupCommit(writer.write)
    commits.start()
    writer.goes_on.clear()
    first = commits.submit(setting("first"))
    assert await asyncio.to_thread(writer.began.wait, 5)

    waiting = [commits.submit(setting(str(number))) for number in range(COMMIT_BATCH_MAX + 1)]
    writer.goes_on.set()
    await asyncio.gather(first, *waiting)
    await commits.stop()

    assert [len(batch) for batch in writer.batches] == [1, COMMIT_BATCH_MAX, 1]


@pytest.mark.parametrize("bad", ["bad", "refused"])
@pytest.mark.parametrize("position", [0, 3, 6])
async def test_one_bad_request_fails_alone(is_threaded: bool, bad: str, position: int) -> None:
    writer = Writer()
    commits = GroupCommit(writer.write, is_threaded=is_threaded)
    commits.start()
    names = list("abcdef")
    names.insert(position, bad)

    found = await asyncio.gather(*(commits.submit(setting(name)) for name in names), return_exceptions=True)
    await commits.stop()

    assert isinstance(found.pop(position), StoreError)
    assert found == [DONE] * 6
    assert [name for batch in writer.batches for name in batch] == list("abcdef")


async def test_an_unexpected_error_says_which_kind_of_request_and_why() -> None:
    commits = GroupCommit(Writer().write, is_threaded=False)
    commits.start()

    with pytest.raises(StoreError, match="SettingRequest: a constraint"):
        await commits.submit(setting("bad"))


async def test_done_is_called_before_anybody_who_waits_goes_on(is_threaded: bool) -> None:
    commits = GroupCommit(Writer().write, is_threaded=is_threaded)
    commits.start()
    order: list[str] = []

    async def wait(name: str) -> None:
        await commits.submit(SettingRequest(name, "", done=lambda _: order.append(f"done {name}")))
        order.append(f"awaited {name}")

    await asyncio.gather(wait("a"), wait("b"))
    await commits.stop()

    assert order.index("done a") < order.index("awaited a")
    assert order.index("done b") < order.index("awaited b")


async def test_done_is_called_even_when_the_caller_was_cancelled(is_threaded: bool) -> None:
    """Leased jobs are handed over there: they must not be lost with a caller that went away."""
    commits = GroupCommit(Writer().write, is_threaded=is_threaded)
    commits.start()
    called = asyncio.Event()
    future = commits.submit(SettingRequest("a", "", done=lambda _: called.set()))

    future.cancel()

    async with asyncio.timeout(5):
        await called.wait()
    await commits.stop()


async def test_a_done_that_breaks_holds_up_nobody(is_threaded: bool) -> None:
    """A bug in one hand-over must not leave the others of its batch waiting for ever."""
    commits = GroupCommit(Writer().write, is_threaded=is_threaded)
    broken: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    commits.start()

    def breaks(_: Result) -> None:
        raise AssertionError("a bug")

    async with asyncio.timeout(5):
        results = await asyncio.gather(
            commits.submit(setting("a")),
            commits.submit(SettingRequest("b", "", done=breaks)),
            commits.submit(setting("c")),
        )
    await commits.stop()

    assert results == [DONE] * 3
    [context] = broken
    assert isinstance(context["exception"], AssertionError)


async def test_a_closed_store_takes_no_more(is_threaded: bool) -> None:
    writer = Writer()
    commits = GroupCommit(writer.write, is_threaded=is_threaded)
    with pytest.raises(StoreClosed):
        commits.submit(setting("too early"))
    commits.start()
    last = commits.submit(setting("last"))

    await commits.stop()

    async with asyncio.timeout(5):
        assert await last is DONE
    assert writer.batches == [["last"]]
    with pytest.raises(StoreClosed):
        commits.submit(setting("too late"))


async def test_a_refused_request_without_a_waiter_is_no_noise(is_threaded: bool) -> None:
    commits = GroupCommit(Writer().write, is_threaded=is_threaded)
    commits.start()
    future = commits.submit(setting("bad"))
    future.cancel()

    await commits.stop()


async def test_the_writers_of_a_shared_database_may_be_stopped_twice() -> None:
    """A server that ends in good order stops its engine, and with it the store, and then the store as such."""
    writer = Writer()

    async def write(_number: int, requests: Sequence[Request]) -> list[Result]:
        return writer.write(requests)

    commits = ConcurrentGroupCommit(write, 2, Outage(lambda: True))
    commits.start()
    committed = commits.submit(setting("a"))

    await commits.stop()
    await commits.stop()

    assert await committed == DONE
