"""The contract of signals that runs ask for in one transaction, where one of the runs has moved on."""

from __future__ import annotations

import msgspec

from stepwell.store.request import Result, Verdict
from tests.store.database import Worker
from tests.unit.engine.making import op, ops


async def test_a_wait_that_is_not_opened_is_in_nobodys_way(worker: Worker) -> None:
    """A commit that is stale is computed anew, and may wait for something else, or for nothing, if its run has ended."""
    (stale_run, stale_job), (run, job) = [await worker.run(worker.event(number)) for number in (1, 2)]
    waits = ops(op("WaitForSignal", "s", opts={"signal": "go", "timeout": "1h"}))
    stale = worker.transition(await worker.state(stale_run.id), stale_job, waits)
    stale = msgspec.structs.replace(stale, run=msgspec.structs.replace(stale.run, version=7))
    good = worker.transition(await worker.state(run.id), job, waits)

    first, second = await worker.submit_together([worker.commit(stale), worker.commit(good)])

    assert isinstance(first, Result)
    assert isinstance(second, Result)
    assert first.verdict is Verdict.STALE
    assert second.verdict is Verdict.COMMITTED
