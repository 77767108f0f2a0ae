"""A replica that stops in the middle of a transaction holds locks: the database ends it before the others lose time."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.errors import StoreUnavailable
from stepwell.protocol.ids import RunId
from stepwell.store.postgres_link import Connection, run_statement
from stepwell.store.query import Statement
from tests.outages.site import TAKE_OVER_S, Site, account, running, store_at, until


async def test_one_that_stops_in_the_middle_of_a_transaction_is_taken_over_in_time(url: str) -> None:
    """It has locked its own row and that of a run, as every commit does, and then says nothing more."""
    stopped, other = Site(store_at(url, "replica-1")), Site(store_at(url, "replica-2"))
    is_called = asyncio.Event()

    async def never_answer(_call: OutgoingCall) -> Reply:
        is_called.set()
        return await asyncio.Future()

    stopped.answer = never_answer
    async with running(other):
        await stopped.start()
        await other.start()
        run = await stopped.send_one()
        await is_called.wait()
        has_locks, goes_on = asyncio.Event(), asyncio.Event()
        stopping = asyncio.create_task(_stop_in_a_transaction(stopped, run, has_locks, goes_on))
        await has_locks.wait()
        await stopped.engine._cancel([*stopped.engine._tasks])  # it doesn't beat any more
        began_at = asyncio.get_running_loop().time()

        await until(lambda: bool(other.calls), "the other one has its work")
        took_s = asyncio.get_running_loop().time() - began_at
        await other.ended(run)

        assert took_s < TAKE_OVER_S + 0.5
        await account(other, [run])
        goes_on.set()
        with pytest.raises(StoreUnavailable, match="PostgreSQL can't be used now"):
            await stopping
        await stopped.engine.stop(grace_s=0)


async def _stop_in_a_transaction(site: Site, run: RunId, has_locks: asyncio.Event, goes_on: asyncio.Event) -> None:
    store = site.store

    async def work(connection: Connection) -> None:
        await run_statement(
            Statement("replica_fence", parameters={"id": store.replica_id, "locks": [], "shared": []}), connection
        )
        await run_statement(Statement("run_lock", [(run,)]), connection)
        has_locks.set()
        await goes_on.wait()
        await run_statement(Statement("run_lock", [(run,)]), connection)

    await store._transact(store._writers[0], work)  # pyright: ignore[reportAttributeAccessIssue]
