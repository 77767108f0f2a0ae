"""The functions of the demo: what a small shop does, in seconds instead of days."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from stepwell import Concurrency, Event, RateLimit, RetryAfterError, Step, Stepwell, cron, current_step

_FLAKY_ATTEMPTS: Final = 2
"""Attempts at a payment that fail before one goes through."""

log = logging.getLogger("demo.shop")


def make_app(server_url: str, app_id: str) -> Stepwell:
    """Make the app, for a dev server."""
    sw = Stepwell(app_id, url=server_url, is_dev=True, logger=log)

    @sw.function("onboard-user", on="demo/user.signed-up", name="Onboard a user")
    async def onboard_user(event: Event, step: Step) -> str:
        """Sleeps and waits."""
        user = event.data["user_id"]
        await step.run("send-welcome-mail", send_mail, user, "Welcome!")
        await step.sleep("let-them-look-around", "6s")
        verified = await step.wait_for_event("verification", "demo/user.verified", match="data.user_id", timeout="20s")
        if verified is None:
            log.warning("user %s has not verified the address", user)
            await step.run("send-reminder", send_mail, user, "Are you still there?")
            return "reminded"
        await step.sleep("give-it-a-moment", "3s")
        await step.run("send-tips", send_mail, user, "Three things to try first")
        return "verified"

    @sw.function("process-order", on="demo/order.placed", name="Process an order")
    async def process_order(event: Event, step: Step) -> dict[str, str]:
        """Parallel steps, then another function."""
        order = event.data["order_id"]
        stock, risk = await asyncio.gather(
            step.run("reserve-stock", work, f"stock for {order}", 0.4),
            step.run("check-for-fraud", work, f"risk of {order}", 0.9),
        )
        payment = await step.invoke("take-payment", take_payment, data={"order_id": order})
        await step.run("send-receipt", send_mail, event.data["user_id"], f"Your order {order}")
        return {"stock": stock, "risk": risk, "payment": payment}

    @sw.function("take-payment", on="demo/payment.due", name="Take a payment")
    async def take_payment(event: Event, step: Step) -> str:
        """A step that fails twice, and then goes through."""
        return await step.run("charge-card", charge, event.data["order_id"])

    @sw.function("sync-inventory", on="demo/inventory.changed", name="Sync the inventory", retries=1)
    async def sync_inventory(event: Event, step: Step) -> None:
        """Never works."""
        await step.run("push-to-warehouse", push, event.data["sku"])

    @sw.function(
        "notify-team",
        on="demo/order.placed",
        name="Notify the team",
        rate_limit=RateLimit(1, "15s"),
    )
    async def notify_team(event: Event, step: Step) -> None:
        """At most one in 15 seconds; the others are skipped."""
        await step.run("post-to-chat", work, f"order {event.data['order_id']}", 0.2)

    @sw.function("resize-photo", on="demo/photo.added", name="Resize a photo", concurrency=Concurrency(2))
    async def resize_photo(event: Event, step: Step) -> str:
        """Two at a time; the others of an album wait for their turn."""
        return await step.run("resize", work, f"photo {event.data['photo_id']}", 2.0)

    @sw.function("report", on=[cron("* * * * *")], name="Report every minute")
    async def report(event: Event, step: Step) -> str:
        """By a schedule."""
        return await step.run("count-orders", work, "orders of the last minute", 1.2)

    return sw


async def send_mail(user: str, subject: str) -> str:
    """Pretend to send a mail."""
    log.info("sending %r to %s", subject, user, extra={"user": user})
    await asyncio.sleep(0.3)
    return f"mail-{random.randrange(10_000)}"


async def work(what: str, seconds: float) -> str:
    """Pretend to work, and say so at several levels."""
    log.debug("looking at %s", what)
    await asyncio.sleep(seconds)
    log.info("done: %s", what)
    return what


async def charge(order: str) -> str:
    """Pretend to charge a card. The bank answers at the third attempt."""
    attempt = current_step().attempt
    log.info("charging for %s, attempt %d", order, attempt + 1)
    await asyncio.sleep(0.5)
    if attempt < _FLAKY_ATTEMPTS:
        log.warning("the bank did not answer")
        raise RetryAfterError("the bank did not answer in time", 2.0)
    return f"payment-of-{order}"


async def push(sku: str) -> None:
    """Fail."""
    log.error("the warehouse refuses %s", sku)
    await asyncio.sleep(0.2)
    raise ConnectionError(f"warehouse.example refused the stock of {sku}: 503 Service Unavailable")
