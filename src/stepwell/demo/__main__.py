"""``python -m stepwell.demo URL APP``: the demo's process, which a dev server starts and holds by its standard input.

When that closes, because the demo was turned off or the server is gone, however it went, this process ends.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import uvicorn

from stepwell import SendError, Stepwell
from stepwell.demo.app import make_app

_BEAT_S: Final = 2.0
_ALBUM: Final = 8  # photos that are added at once
_START_S: Final = 30.0
_RETRY_S: Final = 0.2


async def run(server_url: str, app_id: str) -> None:
    """Serve the app, register it, and send events until standard input ends."""
    stdin_ended = asyncio.Event()
    threading.Thread(target=_watch, args=(asyncio.get_running_loop(), stdin_ended), daemon=True).start()
    sw = make_app(server_url, app_id)
    async with _serving(sw) as app_url:
        working = asyncio.create_task(_work(sw, server_url, app_url))
        await stdin_ended.wait()
        working.cancel()
        await asyncio.wait([working])


def _watch(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(ended.set)


@asynccontextmanager
async def _serving(sw: Stepwell) -> AsyncGenerator[str]:
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(sw.asgi(), log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([bound]))
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/api/stepwell"
    finally:
        server.should_exit = True
        await serving


async def _work(sw: Stepwell, server_url: str, app_url: str) -> None:
    await _register(server_url, app_url)
    for beat in itertools.count(1):
        for name, data in events_of(beat):
            try:
                await sw.send(name, data)
            except SendError as error:
                logging.getLogger("demo").warning("an event was not sent: %s", error)
        await asyncio.sleep(_BEAT_S)


async def _register(server_url: str, app_url: str) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=_START_S) as client, asyncio.timeout(_START_S):
        while True:
            try:
                answer = await client.post(f"{server_url}/api/apps/sync", json={"url": app_url})
                if answer.is_success:
                    return
            except httpx2.HTTPError:
                pass  # the server is about to listen
            await asyncio.sleep(_RETRY_S)


def events_of(beat: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of one beat of the demo: more or less one every two seconds, and now and then an album."""
    user = f"user-{beat // 4:04}"
    match beat % 8:
        case 0 | 4:
            return [("demo/user.signed-up", {"user_id": user, "plan": "free" if beat % 16 else "team"})]
        case 1 | 3:
            order = {"order_id": f"order-{beat:05}", "user_id": user, "cents": 990 + 37 * (beat % 50)}
            return [("demo/order.placed", order)]
        case 2 if beat % 16 == 2:
            return [("demo/photo.added", {"photo_id": f"photo-{beat:05}-{number}"}) for number in range(_ALBUM)]
        case 6:
            return [("demo/user.verified", {"user_id": user})]
        case 7 if beat % 3 == 0:
            return [("demo/inventory.changed", {"sku": f"sku-{beat % 5}", "count": beat % 13})]
        case _:
            return []


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, handlers=[logging.NullHandler()])
    logging.getLogger("demo").setLevel(logging.DEBUG)
    asyncio.run(run(*sys.argv[1:]))
