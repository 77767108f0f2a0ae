"""The app of the run page's tests: a function for each thing that a run can show."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from stepwell import Event, Step, Stepwell, SyncStep

sw = Stepwell("shop")
logging.basicConfig(level=logging.INFO)
logger = logging.getLogger("shop")


class CardError(Exception):
    """The bank said no."""


@sw.function("charge-order", on="order.placed", retries=2)
async def charge_order(event: Event, step: Step) -> str:
    """Fail for good, after three attempts."""
    total = await step.run("add-up", add_up, event.data["prices"])
    logger.info("the order is %s", total)
    return await step.run("charge-card", charge_card, event.data["card"], total)


@sw.function("fan-out", on="report.asked")
async def fan_out(event: Event, step: Step) -> dict[str, int]:
    """Do things side by side, ask another function, and tell others."""
    pages = await asyncio.gather(*(step.run(f"render-{n}", render, n, event.data.get("ms", 300)) for n in range(4)))
    total = await step.invoke("count", count, data={"pages": pages})
    await step.send("tell", "report.done", {"total": total})
    return {"total": total}


@sw.function("count", on=[])
async def count(event: Event, step: Step) -> int:
    """Be invoked."""
    return await step.run("sum", sum, event.data["pages"])


@sw.function("remind", on="reminder.set")
async def remind(event: Event, step: Step) -> str:
    """Sleep for a day."""
    await step.sleep("a-day", "1d")
    return "awake"


@sw.function("await-payment", on="invoice.sent")
async def await_payment(event: Event, step: Step) -> str:
    """Wait for an event."""
    paid = await step.wait_for_event("payment", "invoice.paid", timeout="7d", if_="async.data.id == event.data.id")
    return "paid" if paid else "not paid"


@sw.function("one-at-a-time", on="import.asked", run_concurrency=1)
async def one_at_a_time(event: Event, step: Step) -> None:
    """Keep others out while it sleeps."""
    await step.sleep("a-while", "1h")


@sw.function("chatter", on="chat.begun")
async def chatter(event: Event, step: Step) -> str:
    """Say something, and go on only when the file is there that the event names."""
    return await step.run("talk", talk, event.data["until"])


@sw.function("long-way", on="way.begun")
async def long_way(event: Event, step: Step) -> str:
    """Take a step that lasts until the file is there that the event names, between two quick ones."""
    await step.run("pack", square, 2)
    said = await step.run("walk", talk, event.data["until"])
    await step.run("unpack", square, 2)
    return said


@sw.function("long-way-plain", on="plain-way.begun")
def long_way_plain(event: Event, step: SyncStep) -> str:
    """Do the same in a plain function."""
    step.run("pack", square, 2)
    return step.run("walk", talk_plainly, event.data["until"])


@sw.function("many-steps", on="many.asked")
async def many_steps(event: Event, step: Step) -> int:
    """Take many steps."""
    for number in range(event.data["steps"]):
        await step.run(f"step-{number}", square, number)
    return event.data["steps"]


@sw.function("large", on="large.asked")
async def large(event: Event, step: Step) -> None:
    """Bring a large output."""
    await step.run("fetch-all", rows, event.data["rows"])


def add_up(prices: list[int]) -> int:
    """Sum prices."""
    print("adding up", len(prices), "prices")  # noqa: T201 - it is captured
    return sum(prices)


async def charge_card(card: str, total: int) -> str:
    """Fail, with a cause."""
    logger.warning("charging %s", card[-4:], extra={"total": total})
    await asyncio.sleep(0.05)
    try:
        raise TimeoutError("the bank didn't answer")
    except TimeoutError as error:
        raise CardError(f"card {card[-4:]} was declined") from error


async def render(number: int, ms: int) -> int:
    """Take a while."""
    logger.info("rendering page %s", number)
    await asyncio.sleep(ms / 1000 * (1 + number / 2))
    return number


async def talk(until: str) -> str:
    """Write a line at once, and another when the file is there."""
    logger.info("talking while the step runs")
    while not Path(until).exists():  # noqa: ASYNC110, ASYNC240 - a flag of the test, which is another process
        await asyncio.sleep(0.02)
    logger.error("said it all")
    return "said"


def talk_plainly(until: str) -> str:
    """Do the same in a plain function."""
    print("talking while the step runs")  # noqa: T201 - it is captured
    while not Path(until).exists():
        time.sleep(0.02)
    return "said"


def square(number: int) -> int:
    """Be quick."""
    return number * number


def rows(number: int) -> list[dict[str, object]]:
    """Make many rows."""
    return [{"id": id, "name": f"row {id}", "isActive": id % 2 == 0} for id in range(number)]


async def answer_log(_request: Request) -> PlainTextResponse:
    """Say that the app is there."""
    return PlainTextResponse("ready")


app = Starlette(routes=[Route("/log", answer_log), Route("/api/stepwell", sw.asgi(), methods=["GET", "POST", "PUT"])])
