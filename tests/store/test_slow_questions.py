"""A question of the dashboard that takes too long is broken off, and nobody else notices."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from stepwell.errors import QueryTimeout
from stepwell.store.found import RunFilter
from stepwell.store.read import Text
from tests.store.database import Worker
from tests.unit.engine.making import DEV, event_of


def endless(*_: Any) -> Generator[Text, Any, Any]:
    yield Text(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000000000) select count(*) from n",
        (),
    )


async def test_a_question_that_takes_too_long_is_broken_off(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite", "postgres"):
        monkeypatch.setattr(f"stepwell.store.{module}.READ_S_MAX", 0.1)
    with monkeypatch.context() as context:
        context.setattr("stepwell.store.lists.find_runs", endless)
        with pytest.raises(QueryTimeout, match=r"longer than 0\.1 s: narrow the time range"):
            await worker.store.insight.find_runs(RunFilter(DEV))

    await worker.run(event_of())

    assert len((await worker.store.insight.find_runs(RunFilter(DEV))).runs) == 1
    assert worker.store.outage is None
