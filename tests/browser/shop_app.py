"""The app of the lists' tests: runs that end, that fail, and that wait until a test lets them go on."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from stepwell import Batch, Debounce, Event, Step, Stepwell, trigger

sw = Stepwell("shop")


@sw.function("charge-card", on="order.placed", retries=0)
async def charge_card(event: Event, step: Step) -> str:
    """Fail where the order is dear."""
    return await step.run("charge", charge, event.data["total"])


@sw.function("send-coupon", on=trigger("order.placed", if_="event.data.total > 1000"))
async def send_coupon(event: Event, step: Step) -> None:
    """Start for large orders only."""


@sw.function("ship-parcel", on="parcel.packed")
async def ship_parcel(event: Event, step: Step) -> str:
    """Wait until the parcel was scanned."""
    await step.wait_for_event("scanned", "parcel.scanned", match="data.parcel", timeout="1d")
    return "delivered"


@sw.function("print-labels", on="label.wanted", batch=Batch(2, "10m"))
async def print_labels(events: list[Event], step: Step) -> int:
    """Start with two of them."""
    return len(events)


@sw.function("refresh-stock", on="stock.moved", debounce=Debounce("1s"))
async def refresh_stock(event: Event, step: Step) -> None:
    """Start when no more come for a while."""


@sw.function("pay-out", on="payout.wanted")
async def pay_out(event: Event, step: Step) -> None:
    """Have an account number that a double can't hold."""
    await step.run("look-up", lambda: {"account": 12345678901234567891})


def charge(total: int) -> str:
    if total > 100:
        raise ValueError(f"card declined: {total} is over the limit")
    return "paid"


async def is_up(request: Request) -> PlainTextResponse:
    return PlainTextResponse("")


app = Starlette(routes=[Route("/api/stepwell", sw.asgi()), Route("/log", is_up)])
