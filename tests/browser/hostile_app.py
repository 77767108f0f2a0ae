"""An app whose names, payloads, lines and errors try to break the page that shows them."""

from __future__ import annotations

import logging
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from stepwell import Event, Step, Stepwell

SCRIPT: Final = "</script><script>window.hacked = 'script'</script>"
IMAGE: Final = """<img src=x onerror="window.hacked = 'image'">"""
# An override, which turns all that follows around, and two Arabic words.
RIGHT_TO_LEFT: Final = "\u202e\u0645\u0639\u0627\u0644\u062c\u0629 \u0627\u0644\u0637\u0644\u0628\u0627\u062a"
LONG: Final = "long" * 50
EMOJI: Final = "\N{ROCKET} launch \N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER} {{7+7}} ${7+7} %s"
NAMES: Final = {"script": SCRIPT, "image": IMAGE, "right-to-left": RIGHT_TO_LEFT, LONG: LONG, "emoji": EMOJI}
"""The display names of functions, by their ids; events and steps have the same names."""

logging.basicConfig(level=logging.INFO)
sw = Stepwell("hostile", logger=logging.getLogger(IMAGE + LONG))


def make(id: str, name: str) -> None:
    @sw.function(id, on=name, name=name, retries=0)
    async def function(event: Event, step: Step) -> object:
        """Show a name wherever one is shown."""
        logging.getLogger(name).warning("%s %s", name, name)
        await step.run(name, lambda: {name: [name, "\u2028\u0000", "&amp;"]})
        await step.run(name, fail, name)
        return name


def fail(name: str) -> None:
    raise ValueError(name)


for one in NAMES.items():
    make(*one)


@sw.function("told", on="told", name=IMAGE)
async def told(event: Event, step: Step) -> object:
    """Give all of it back, in steps that end well."""
    for name in NAMES.values():
        await step.run(f"say {name}", lambda said=name: {said: said})
    await step.wait_for_event(EMOJI, IMAGE, timeout="1d", if_=f"async.data.x == '{LONG}'")
    return event.data


async def is_up(request: Request) -> PlainTextResponse:
    return PlainTextResponse("")


app = Starlette(routes=[Route("/api/stepwell", sw.asgi()), Route("/log", is_up)])
