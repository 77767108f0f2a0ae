"""The handler's logger says each thing once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stepwell import Step, SyncStep
from tests.unit.sdk.pretend import PretendRun, new_app


async def test_lines_between_steps_are_written_once_and_lines_in_steps_always(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sw = new_app()

    @sw.function("f", on="test/event")
    async def f(step: Step, logger: logging.Logger) -> None:
        logger.info("start")
        await step.run("a", lambda: logger.warning("in a"))
        logger.info("after %s", "a")
        await asyncio.gather(step.run("b", lambda: logger.info("in b")), step.sleep("nap", 1))
        logger.info("end", extra={"more": 1})

    with caplog.at_level(logging.INFO, "stepwell.acme"):
        await PretendRun(sw, "f").end()

    records = [record for record in caplog.records if record.name == "stepwell.acme"]
    assert [record.getMessage() for record in records] == ["start", "in a", "after a", "in b", "end"]
    assert {getattr(record, "run_id", "") for record in records} == {"01JABCDEFGHJKMNPQRSTVWXYZ0"}
    assert [getattr(record, "step", "") for record in records] == [None, "a", None, "b", None]
    assert getattr(records[-1], "more", None) == 1
    assert {(getattr(record, "function_id", ""), getattr(record, "attempt", -1)) for record in records} == {
        ("acme-f", 0)
    }


async def test_plain_handlers_have_the_same_logger(caplog: pytest.LogCaptureFixture) -> None:
    sw = new_app(logger=logging.getLogger("mine"))

    @sw.function("f", on="test/event")
    def f(step: SyncStep, logger: logging.Logger) -> None:
        logger.info("start")
        step.run("a", lambda: logger.info("in a"))
        logger.debug("below the level")
        logger.info("end")

    with caplog.at_level(logging.INFO, "mine"):
        await PretendRun(sw, "f").end()

    assert [record.getMessage() for record in caplog.records if record.name == "mine"] == ["start", "in a", "end"]
