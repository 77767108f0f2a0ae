"""The connection on which replicas notify each other breaks: that costs time, and nothing else."""

from __future__ import annotations

import asyncio

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.store.news import News
from tests.outages.proxy import proxied
from tests.outages.site import Site, account, running, store_at, two_steps, until
from tests.store.database import Worker
from tests.unit.engine.making import DEV, T0, function_of


class Held:
    """An app that answers once a test lets it."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()

    async def answer(self, call: OutgoingCall) -> Reply:
        await self.may_answer.wait()
        return await two_steps(call)


async def test_who_listens_again_looks_at_everything(url: str) -> None:
    async with proxied(url) as proxy:
        store = store_at(url, is_pooled=True, listen_url=proxy.url)
        heard: list[News] = []
        store.listen(heard.append)
        await store.start(now=T0)
        try:
            await until(lambda: len(heard) == 1, "it listens")
            proxy.cut()
            await until(lambda: not store.is_heard, "it notices that it doesn't")
            await until(lambda: len(heard) == 2, "it listens again")

            assert heard == [News({}, is_synced=True, is_left=True)] * 2
            assert store.is_heard
        finally:
            await store.stop()


async def test_work_that_one_replica_leaves_is_found_by_one_that_cannot_be_notified(url: str) -> None:
    async with proxied(url) as proxy:
        full = Site(store_at(url, "replica-1"), calls_per_app_max=1)
        deaf = Site(store_at(url, "replica-2", is_pooled=True, listen_url=proxy.url))
        held = Held()
        full.answer = held.answer
        async with running(full, deaf):
            await full.start()
            await deaf.start()
            proxy.is_refusing = True
            proxy.cut()
            await until(lambda: not deaf.store.is_heard, "it can't be notified")

            accepted = [await full.send_one(number) for number in range(3)]
            await deaf.ended(*accepted[1:])

            held.may_answer.set()
            await full.ended(*accepted)
            await account(full, accepted)


async def test_a_listener_whose_server_has_vanished_is_found_out(url: str) -> None:
    """Nothing tells who only listens; so an outage elsewhere is the occasion to ask."""
    async with proxied(url) as proxy:
        store = store_at(url, is_pooled=True, listen_url=proxy.url)
        await store.start(now=T0)
        try:
            await until(lambda: store.is_heard, "it listens")
            proxy.is_silent = True
            assert store._news is not None
            store._news.check()

            await until(lambda: not store.is_heard, "it notices")

            proxy.is_silent = False
            await until(lambda: store.is_heard, "it listens again")
        finally:
            await store.stop()


async def test_a_sync_that_was_missed_is_seen_by_the_next_beat(url: str) -> None:
    async with proxied(url) as proxy:
        deaf = Site(store_at(url, is_pooled=True, listen_url=proxy.url))
        async with running(deaf):
            await deaf.start()
            proxy.is_silent = True  # it believes that it would be notified
            other = Worker(deaf.store)
            await other.sync("another", function_of("another-g", app="another"))

            await until(lambda: "another-g" in deaf.engine.registries.of(DEV).by_slug, "it knows the new function")
            proxy.cut()
