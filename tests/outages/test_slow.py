"""A database that is far away, or slow: all works, later."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from stepwell.engine.clock import real_ms
from stepwell.engine.core.model import Reply, RunStatus
from stepwell.engine.transport import OutgoingCall
from stepwell.store.postgres_link import Patience
from tests.outages.proxy import Proxy
from tests.outages.site import Site, lines, running, store_at, until
from tests.unit.engine.making import result


async def test_with_a_fifth_of_a_second_for_each_answer_all_runs_end_and_time_stays_right(proxy: Proxy) -> None:
    """A commit takes a second or two then, and so does a beat."""
    site = Site(store_at(proxy.url, patience=Patience(), take_over_s=10.0), take_over_s=10.0)
    off_ms: list[int] = []

    async def answer(_call: OutgoingCall) -> Reply:
        off_ms.append(abs(site.engine.clock.now() - real_ms()))
        return result()

    site.answer = answer
    async with running(site):
        await site.start()
        await site.ended(await site.send_one(0))  # statements are prepared by it
        proxy.delay_s = 0.2
        beaten_at = site.engine._membership._beaten_at
        with capture_logs() as logs:
            accepted = await asyncio.gather(*(site.send_one(number) for number in range(1, 6)))
            await site.ended(*accepted)
            await until(lambda: site.engine._membership._beaten_at > beaten_at, "a beat went through")
            off_ms.append(abs(site.engine.clock.now() - real_ms()))
        proxy.delay_s = 0.0

        states = await site.store.load_runs(accepted)
        assert {state.run.status for state in states.values()} == {RunStatus.COMPLETED}
        assert len(site.calls) == 6
        assert lines(logs, "database.unavailable") == lines(logs, "jobs.orphaned") == []
        assert max(off_ms) < 500
