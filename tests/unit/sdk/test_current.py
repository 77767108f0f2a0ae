"""What a step's own code knows of its step."""

from __future__ import annotations

import contextvars
import uuid
from typing import Any

import pytest

from stepwell import Step, StepUsageError, SyncStep, current_step
from stepwell.protocol.ids import step_hash
from tests.unit.sdk.pretend import PretendRun, new_app


async def test_the_idempotency_key_is_the_same_in_every_attempt_and_differs_between_steps() -> None:
    sw = new_app()
    keys: list[tuple[str, int, str]] = []

    def note(step: Step | SyncStep) -> None:
        running = current_step()
        assert running.idempotency_key == step.idempotency_key
        keys.append((running.name, running.attempt, running.idempotency_key))
        if running.attempt == 0:
            raise ValueError("again")

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("a", note, step)
        await step.run("a", note, step)

    @sw.function("g", on="test/event")
    def g(step: SyncStep) -> None:
        step.run("a", note, step)

    await PretendRun(sw, "f").end()
    await PretendRun(sw, "g").end()

    assert [key[:2] for key in keys] == [("a", 0), ("a", 1)] * 3
    assert keys[0][2] == keys[1][2] == keys[4][2] == keys[5][2]
    assert keys[2][2] == keys[3][2] != keys[0][2]
    assert str(uuid.UUID(keys[0][2])) == keys[0][2]


async def test_a_step_knows_its_run_and_its_id() -> None:
    sw = new_app()
    found: list[Any] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        await step.run("a", lambda: found.append(current_step()))

    await PretendRun(sw, "f").call()

    assert (found[0].id, found[0].run_id) == (step_hash("a"), "01JABCDEFGHJKMNPQRSTVWXYZ0")


async def test_outside_a_step_there_is_none() -> None:
    sw = new_app()
    sw.function("f", on="test/event")(lambda step: step.idempotency_key)

    answer = await PretendRun(sw, "f").call()

    assert answer.status == 400
    assert "there is no current step here" in answer.body["message"]
    with pytest.raises(StepUsageError):
        current_step()


@pytest.mark.parametrize("is_sync", [False, True], ids=["asgi", "wsgi"])
async def test_context_variables_of_the_handler_are_seen_in_its_steps(is_sync: bool) -> None:
    sw = new_app()
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")

    async def read() -> str:
        return tenant.get()

    @sw.function("f", on="test/event")
    async def f(step: Step) -> Any:
        tenant.set("acme")
        return [await step.run("plain", tenant.get), await step.run("async", read)]

    @sw.function("g", on="test/event")
    def g(step: SyncStep) -> Any:
        tenant.set("acme")
        return [step.run("plain", tenant.get), step.run("async", read)]

    for name in ("f", "g"):
        assert (await PretendRun(sw, name, is_sync=is_sync).end()).body == ["acme", "acme"]
    assert tenant.get() == "none"
