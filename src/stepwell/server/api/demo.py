"""Turning the built-in demo app on and off, on a dev server."""

from __future__ import annotations

import msgspec

from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.context import ApiError
from stepwell.server.demo import DEMO_APP
from stepwell.server.register import retire_app


class DemoSwitch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the demo shall run."""

    on: bool


class DemoView(msgspec.Struct, frozen=True):
    """Whether the demo runs."""

    is_on: bool
    cancelled_runs: int = 0
    """Runs that hadn't ended when it was turned off just now: nothing could bring them to their end."""


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints of the demo."""
    path = "/api/demo"
    return [
        Endpoint("GET", path, "Show whether the demo app runs", DemoView, show_demo, query=Nothing, body=Nothing),
        Endpoint("POST", path, "Turn the demo app on or off", DemoView, switch_demo, query=Nothing, body=DemoSwitch),
    ]


async def show_demo(call: Call[Nothing, Nothing]) -> DemoView:
    """Show whether the demo runs."""
    return DemoView(call.context.demo.is_on)


async def switch_demo(call: Call[Nothing, DemoSwitch]) -> DemoView:
    """Turn the demo on or off. Off, its app is archived and its runs are cancelled that haven't ended; others stay."""
    context = call.context
    if not context.settings.is_dev:
        raise ApiError(403, "dev_only", "the demo app is for a dev server: `stepwell dev --demo`")
    if call.body.on:
        await context.demo.start()
        return DemoView(context.demo.is_on)
    await context.demo.stop()
    cancelled_count = await retire_app(context, DEMO_APP)
    return DemoView(context.demo.is_on, cancelled_count)
