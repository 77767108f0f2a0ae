"""The app of the kill tests of flow control and waits, as a process: ``python -m tests.e2e.flow_app PORT JOURNAL``."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from stepwell import Batch, Concurrency, Debounce, Event, Run, Singleton, Step, Stepwell, Throttle
from tests.e2e.chaos_app import RETRIES, Notes, serve
from tests.e2e.journal import JournalWriter

STEPS: Final = {
    "one": ("a", "b"),
    "keyed": ("a", "b", "c"),
    "shared-a": ("a",),
    "shared-b": ("a",),
    "whole": ("a", "nap", "b"),
    "single": ("a", "nap", "b"),
    "throttled": ("a",),
    "long": tuple("abcdefgh"),
    "wait": ("before", "wait", "after"),
    "boss": ("invoke", "after"),
    "worker": ("work",),
    "batch": ("a",),
    "debounce": ("a",),
}
"""The steps of each function."""
BODILESS: Final = frozenset({"nap", "wait", "invoke"})
STARTS: Final = {
    "thing.made": ("one", "keyed", "long"),
    "thing.shared": ("shared-a", "shared-b", "whole"),
    "thing.metered": ("throttled",),
    "thing.ordered": ("wait", "boss"),
    "thing.alone": (),
    "thing.heaped": (),
    "thing.paid": (),
}
"""The functions that each event starts, each for itself."""
SINGLE: Final = "thing.alone"
ORDERED: Final = "thing.ordered"
PAID: Final = "thing.paid"
GATHERED: Final = "thing.heaped"
GATHERING: Final = frozenset({"batch", "debounce"})
CALL_LIMITS: Final = {
    "one": ("one",),
    "keyed": ("keyed", "key"),
    "shared-a": ("shared", "key"),
    "shared-b": ("shared", "key"),
}
"""The functions of which one call at a time is made: whose the count is, and for which value of the event's data."""
RUN_LIMITED: Final = frozenset({"whole", "single"})
"""The functions of which each key has one run at a time."""
THROTTLE_S: Final = 0.5
BATCH_SIZE: Final = 4
WAIT_S: Final = 1.5
"""How long an order waits to be paid."""


def make_app(journal: JournalWriter) -> Stepwell:
    """Make an app that notes what it does."""
    sw, notes = Stepwell("acme"), Notes(journal)
    noted, finished = notes.step, notes.finished
    by_key = Concurrency(1, key="event.data.key")

    @sw.function("one", on="thing.made", retries=RETRIES, concurrency=1)
    async def one(step: Step, run: Run) -> list[str]:
        return finished(run, await noted(step, run, "a"), await noted(step, run, "b"))

    @sw.function("keyed", on="thing.made", retries=RETRIES, concurrency=by_key)
    async def keyed(step: Step, run: Run) -> list[str]:
        both = await asyncio.gather(noted(step, run, "a"), noted(step, run, "b"))
        return finished(run, *both, await noted(step, run, "c"))

    for id in ("shared-a", "shared-b"):

        @sw.function(
            id,
            on="thing.shared",
            retries=RETRIES,
            concurrency=Concurrency(1, key="'shared-' + event.data.key", scope="env"),
        )
        async def shared(step: Step, run: Run) -> list[str]:
            return finished(run, await noted(step, run, "a"))

    async def with_a_nap(step: Step, run: Run) -> list[str]:
        before = await noted(step, run, "a")
        await step.sleep("nap", "50ms")
        return [before, await noted(step, run, "b")]

    @sw.function("whole", on="thing.shared", retries=RETRIES, run_concurrency=by_key)
    async def whole(step: Step, run: Run) -> list[str]:
        return finished(run, *await with_a_nap(step, run))

    @sw.function("single", on=SINGLE, retries=RETRIES, singleton=Singleton(key="event.data.key"))
    async def single(step: Step, run: Run) -> list[str]:
        return await with_a_nap(step, run)

    @sw.function("throttled", on="thing.metered", retries=RETRIES, throttle=Throttle(2, period=2 * THROTTLE_S))
    async def throttled(step: Step, run: Run) -> list[str]:
        return finished(run, await noted(step, run, "a"))

    @sw.function("long", on="thing.made", retries=RETRIES)
    async def long(step: Step, run: Run) -> list[str]:
        return finished(run, *[await noted(step, run, name) for name in STEPS["long"]])

    @sw.function("wait", on=ORDERED, retries=RETRIES)
    async def wait(step: Step, run: Run) -> list[str]:
        before = await noted(step, run, "before")
        paid = await step.wait_for_event("wait", PAID, match="data.order", timeout=WAIT_S)
        notes.saw(run, "wait", str(paid and paid.data["n"]))
        return finished(run, before, await noted(step, run, "after"))

    @sw.function("worker", on=[], retries=RETRIES)
    async def worker(event: Event, step: Step, run: Run) -> dict[str, Any]:
        return {"order": event.data["order"], "work": await noted(step, run, "work")}

    @sw.function("boss", on=ORDERED, retries=RETRIES)
    async def boss(event: Event, step: Step, run: Run) -> list[str]:
        done = await step.invoke("invoke", worker, data={"order": event.data["n"]})
        notes.saw(run, "invoke", f"{done['order']} {done['work']}")
        return finished(run, await noted(step, run, "after"))

    @sw.function("batch", on=GATHERED, retries=RETRIES, batch=Batch(BATCH_SIZE, timeout="1s", key="event.data.key"))
    async def batch(events: list[Event], step: Step, run: Run) -> list[str]:
        notes.saw(run, "events", " ".join(sorted(str(event.data["n"]) for event in events)))
        return [await noted(step, run, "a")]

    @sw.function("debounce", on=GATHERED, retries=RETRIES, debounce=Debounce("1s", key="event.data.key", timeout="3s"))
    async def debounce(step: Step, run: Run) -> list[str]:
        return [await noted(step, run, "a")]

    return sw


if __name__ == "__main__":
    serve(make_app)
