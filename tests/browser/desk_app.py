"""The app of the tests of functions, logs and sending: it greets, it refuses, and it says so in its log."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from stepwell import Concurrency, Event, Step, Stepwell, cron

sw = Stepwell("desk")
log = logging.getLogger("desk")
log.setLevel(logging.INFO)


@sw.function("greet", on="guest.arrived", name="Greet a guest", retries=1, concurrency=Concurrency(2))
async def greet(event: Event, step: Step) -> str:
    """Greet, aloud; those who come to a door that is shut, when it is open."""
    if door := event.data.get("door"):
        await step.run("wait-at-the-door", wait_at, str(door))
    await step.run("say-hello", say_hello, str(event.data["name"]))
    return f"greeted {event.data['name']}"


@sw.function("refuse", on="guest.arrived", retries=0)
async def refuse(event: Event, step: Step) -> None:
    """Refuse those who are loud."""
    if event.data.get("loud"):
        raise PermissionError(f"guest {event.data['name']} is too loud")


@sw.function("close-up", on=cron("TZ=Europe/Berlin 0 22 * * *"))
async def close_up(event: Event, step: Step) -> None:
    """Close the desk in the evening."""


async def wait_at(door: str) -> None:
    while not Path(door).exists():  # noqa: ASYNC110, ASYNC240 - a test opens it from outside
        await asyncio.sleep(0.05)


def say_hello(name: str) -> None:
    log.info("hello %s", name)
    log.warning("the bell is worn out", extra={"guest": name})


async def is_up(request: Request) -> PlainTextResponse:
    return PlainTextResponse("")


app = Starlette(routes=[Route("/api/stepwell", sw.asgi()), Route("/log", is_up)])
