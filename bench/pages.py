"""Open pages: what they cost the hot path, and how soon they show what was committed.

Ten pages listen as the dashboard's do, and read what they show again when they hear that it changed: at most once a second.
The same workload runs in turns without and with them, on one server. Then a page listens alone, while events come one
after the other: the time from sending one until the page hears of it. With PostgreSQL a second page does, at another replica.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from bench.server import API_TOKEN, EVENT_KEY, Server, stepwell

_READ_AGAIN_S: Final = 1.0
_PROBES: Final = 100
_PROBE_S: Final = 0.25
_SHARE_MIN: Final = 0.9
_HEARD_MS_MAX: Final = 300
PAGES: Final = (
    *(("runs,functions", "/api/runs?limit=50"),) * 5,
    *(("events,runs", "/api/events?limit=50"),) * 2,
    *(("logs", "/api/logs?limit=100"),) * 2,
    ("functions", "/api/functions"),
)
"""Of each page its topics, and what it reads."""


def client(server: Server) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {API_TOKEN}"} if server.arguments else {}
    return httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=30)


async def messages(http: httpx2.AsyncClient, topics: str) -> AsyncGenerator[tuple[str, Any]]:
    """Listen, and give each message with its name."""
    async with http.stream("GET", "/api/stream", params={"topics": topics}, timeout=None) as answer:
        answer.raise_for_status()
        name = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


async def closing(writer: asyncio.StreamWriter) -> None:
    """Close a connection when its page is closed."""
    try:
        await asyncio.Event().wait()
    finally:
        writer.close()


async def page(server: Server, topics: str, path: str, opened: asyncio.Semaphore) -> None:
    """Be a page, until cancelled."""
    changed = asyncio.Event()

    async def show(http: httpx2.AsyncClient) -> None:
        while True:
            await changed.wait()
            changed.clear()
            (await http.get(path)).raise_for_status()
            await asyncio.sleep(_READ_AGAIN_S)

    async with client(server) as http, asyncio.TaskGroup() as tasks:
        tasks.create_task(show(http))
        # As plainly as can be: a browser has a machine of its own.
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
        head = [f"GET /api/stream?topics={topics} HTTP/1.1", "Host: localhost"]
        head += [f"{name}: {value}" for name, value in http.headers.items() if name == "authorization"]
        tasks.create_task(closing(writer))
        writer.write("\r\n".join([*head, "", ""]).encode())
        await reader.readuntil(b"event: hello")
        opened.release()
        while await reader.read(1 << 16):
            changed.set()


@contextmanager
def open_pages(server: Server) -> Generator[None]:
    """Have pages open, in a thread of their own."""
    loop = asyncio.new_event_loop()
    are_open = threading.Event()

    async def main() -> None:
        opened = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as tasks:
            for topics, path in PAGES:
                tasks.create_task(page(server, topics, path, opened))
            for _ in PAGES:
                await opened.acquire()
            are_open.set()

    task = loop.create_task(main())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    try:
        if not are_open.wait(30):
            raise SystemExit("the pages could not be opened")
        yield
        if task.done():
            raise SystemExit(f"the pages were closed meanwhile: {task.exception()!r}")
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


async def heard_after(sent_to: Server, listening_at: Server) -> list[float]:
    """Return for some events the milliseconds from sending each to one server until a page at one hears of it."""
    took: list[float] = []
    key = EVENT_KEY if sent_to.arguments else "bench"
    async with client(sent_to) as sending, client(listening_at) as http:
        heard = messages(http, "events")
        while (await anext(heard))[0] != "hello":
            pass
        name = f"bench/pages.{uuid.uuid4().hex[:8]}"
        await asyncio.sleep(1)  # the other replica learns of the page
        for _ in range(_PROBES):
            began = time.perf_counter()
            answer = await sending.post(f"/e/{key}", json={"name": name, "data": {}})
            [id] = answer.raise_for_status().json()["ids"]
            while id not in (await anext(heard))[1].get("events", ()):
                pass
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(_PROBE_S)
        await heard.aclose()
    return sorted(took)


def report(
    create_database: Callable[[str], str],
    folder: Path,
    rate: Callable[[Server], float],
    *,
    rounds: int,
    is_signed: bool,
    is_shared: bool,
) -> None:
    """Measure, and print what was found. ``rate`` runs the workload."""
    print("\npages")
    with ExitStack() as stack:
        db = create_database("pages")
        server = stack.enter_context(stepwell(db, folder, is_signed=is_signed, name="pages"))
        without: list[float] = []
        beside: list[float] = []
        for _ in range(rounds):
            without.append(rate(server))
            with open_pages(server):
                beside.append(rate(server))
        alone, busy = statistics.median(without), statistics.median(beside)
        print(f"    {f'steps/s, without and with {len(PAGES)} pages':44} {alone:8,.0f} {busy:8,.0f}")
        print(f"    {'share':44} {busy / alone:8.2f}   (asked for {_SHARE_MIN})", flush=True)
        places = [("a page hears of an event", server)]
        if is_shared:
            other = stack.enter_context(stepwell(db, folder, is_signed=is_signed, name="pages-2"))
            places.append(("a page at another replica does", other))
        for title, place in places:
            took = asyncio.run(heard_after(server, place))
            p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
            print(
                f"    {f'{title}, p50 and p99, ms':44} {p50:8.1f} {p99:8.1f}   (asked for {_HEARD_MS_MAX})", flush=True
            )
