"""Waits and flow control under load: what must not grow with their number.

    blocked     start latency of one function while another, at concurrency 1, has 100,000 runs in line
    waits       events accepted while 100,000 runs wait for one name: unrelated events, and events that match one wait each
    resolve     one event that ends 10,000 waits: how long others' commits are held up
    fanout1000  one event that starts 1,000 functions: one transaction

The app is this process, as in ``yardstick/``. Each case has a server and a database of its own.
"""

from __future__ import annotations

import asyncio
import statistics
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bench.server import EVENT_KEY, SIGNING_KEY, Server, stepwell
from bench.yardstick.nullapp import App, Call, Client, dumps, now, sha1

_PER_REQUEST: Final = 500
_STALL_S: Final = 300.0
BACKLOG: Final = 100_000
WAITS: Final = 100_000
RESOLVED: Final = 10_000
FANOUT: Final = 1_000
_PROBES: Final = 200
_PROBE_S: Final = 0.05
_INGEST_S: Final = 3.0


class FlowApp(App):
    """An app whose functions have flow control, with the moments of their first calls."""

    def __init__(self, server: Server) -> None:
        is_signed = bool(server.arguments)
        super().__init__(
            server.url,
            app_id=f"bench-{uuid.uuid4().hex[:8]}",
            event_key=EVENT_KEY if is_signed else "bench",
            signing_key=SIGNING_KEY if is_signed else None,
        )
        self.seen: list[float] = []
        self.called: dict[int, float] = {}

    async def send_many(self, events: Sequence[dict[str, Any]]) -> None:
        """Send events in large requests, four at once."""
        pieces = iter([events[at : at + _PER_REQUEST] for at in range(0, len(events), _PER_REQUEST)])

        async def sender() -> None:
            client = Client(self.server)
            for piece in pieces:
                status, body = await client.post(f"/e/{self.event_key}", dumps(piece))
                if status != 200:
                    raise SystemExit(f"events were refused: {status} {body[:200]!r}")

        await asyncio.gather(*(sender() for _ in range(4)))

    async def until(self, is_true: Callable[[], bool], what: str) -> None:
        deadline = now() + _STALL_S
        while not is_true():
            if now() > deadline:
                raise SystemExit(f"{what} did not happen within {_STALL_S:.0f} s")
            await asyncio.sleep(0.02)


async def _latencies(app: FlowApp, event: str) -> list[float]:
    """Send events one at a time at 20/s, and return the seconds to each first call."""
    sent: dict[int, float] = {}
    app.called.clear()
    for number in range(_PROBES):
        sent[number] = now()
        await app.send([{"name": event, "data": {"i": number}}])
        await asyncio.sleep(_PROBE_S)
    await app.until(lambda: len(app.called) >= _PROBES, "the call of each probe")
    return sorted(app.called[number] - sent[number] for number in sent)


async def blocked(server: Server) -> dict[str, float]:
    app = FlowApp(server)

    def note(call: Call) -> tuple[int, None]:
        app.called.setdefault(call.event["data"]["i"], call.t)
        return 200, None

    app.fn("stuck", "stuck", lambda _call: (206, [{"id": sha1("s"), "op": "Sleep", "name": "1h"}]), runConcurrency=1)
    app.fn("free", "free", note)
    await app.start()
    await app.register()
    await app.send([{"name": "free", "data": {"i": -1}}])
    await app.until(lambda: -1 in app.called, "the first call")
    before = await _latencies(app, "free")
    await app.send_many([{"name": "stuck", "data": {"i": number}} for number in range(BACKLOG)])
    await asyncio.sleep(2)
    after = await _latencies(app, "free")
    return {
        "p50 alone, ms": _percentile(before, 50),
        "p50 beside, ms": _percentile(after, 50),
        "p99 alone, ms": _percentile(before, 99),
        "p99 beside, ms": _percentile(after, 99),
    }


def _waiting(app: FlowApp, condition: str | None) -> Callable[[Call], tuple[int, Any]]:
    def wait(call: Call) -> tuple[int, Any]:
        if call.done:
            app.seen.append(call.t)
            return 200, None
        app.seen.append(call.t)
        opts = {"timeout": "1h", **({"if": condition} if condition else {})}
        return 206, [{"id": sha1("w"), "op": "WaitForEvent", "name": "awaited", "displayName": "w", "opts": opts}]

    return wait


async def _ingest_rate(app: FlowApp, make: Callable[[int], dict[str, Any]]) -> float:
    """Send events by hundreds, four requests at once, for some seconds; return events/s."""
    end, count = now() + _INGEST_S, 0

    async def sender(first: int) -> None:
        nonlocal count
        client, number = Client(app.server), first
        while now() < end:
            events = [make(number + at * 4) for at in range(100)]
            number += 400
            status, body = await client.post(f"/e/{app.event_key}", dumps(events))
            if status != 200:
                raise SystemExit(f"events were refused: {status} {body[:200]!r}")
            count += 100

    began = now()
    await asyncio.gather(*(sender(first) for first in range(4)))
    return count / (now() - began)


async def waits(server: Server) -> dict[str, float]:
    app = FlowApp(server)
    app.fn("waiter", "wanted", _waiting(app, "event.data.i == async.data.i"))
    await app.start()
    await app.register()
    pad = {"pad": "x" * 100}
    unrelated = await _ingest_rate(app, lambda number: {"name": "unrelated", "data": {"i": number, **pad}})
    await app.send_many([{"name": "wanted", "data": {"i": number}} for number in range(WAITS)])
    await app.until(lambda: len(app.seen) >= WAITS, f"waiting of {WAITS:,} runs")
    await asyncio.sleep(1)
    beside = await _ingest_rate(app, lambda number: {"name": "unrelated", "data": {"i": number, **pad}})
    nothing = await _ingest_rate(app, lambda number: {"name": "awaited", "data": {"i": -1 - number, **pad}})
    took: list[float] = []
    for number in range(50):
        seen, began = len(app.seen), now()
        await app.send([{"name": "awaited", "data": {"i": number}}])
        took.append(now() - began)
        await app.until(lambda seen=seen: len(app.seen) > seen, "the resumption of a run")
    return {
        "unrelated alone, events/s": unrelated,
        "unrelated beside, events/s": beside,
        "of the name, matching none, events/s": nothing,
        "one that matches, accepted, p50 ms": _percentile(sorted(took), 50),
    }


async def resolve(server: Server) -> dict[str, float]:
    app = FlowApp(server)
    app.fn("waiter", "wanted", _waiting(app, None))
    await app.start()
    await app.register()
    await app.send_many([{"name": "wanted", "data": {"i": number}} for number in range(RESOLVED)])
    await app.until(lambda: len(app.seen) >= RESOLVED, f"waiting of {RESOLVED:,} runs")
    await asyncio.sleep(2)
    app.seen.clear()
    held: list[float] = []
    is_over = False

    async def probe() -> None:
        client = Client(app.server)
        while not is_over:
            began = now()
            await client.post(f"/e/{app.event_key}", dumps([{"name": "unrelated", "data": {}}]))
            held.append(now() - began)

    probing = asyncio.create_task(probe())
    await asyncio.sleep(1)
    quiet = max(held)
    held.clear()
    began = now()
    await app.send([{"name": "awaited", "data": {}}])
    accepted = now() - began
    await asyncio.sleep(0.1)
    worst_of_ingest = max(held)
    await app.until(lambda: len(app.seen) >= RESOLVED, f"the resumption of {RESOLVED:,} runs")
    resumed = max(app.seen) - began
    is_over = True
    with suppress(asyncio.CancelledError):
        await probing
    return {
        "accepted, ms": accepted * 1000,
        "others held up before, ms": quiet * 1000,
        "others held up by it, ms": worst_of_ingest * 1000,
        "all resumed, s": resumed,
    }


async def fanout1000(server: Server) -> dict[str, float]:
    app = FlowApp(server)
    for number in range(FANOUT):
        app.fn(f"f{number}", "fan", lambda call: (app.seen.append(call.t), (200, None))[1])
    await app.start()
    await app.register()
    took: list[float] = []
    for turn in range(1, 6):
        began = now()
        await app.send([{"name": "fan", "data": {}}])
        took.append(now() - began)
        await app.until(lambda turn=turn: len(app.seen) >= turn * FANOUT, "the call of each function")
        await asyncio.sleep(0.3)
    return {"accepted, ms": statistics.median(took) * 1000}


CASES: Final[dict[str, Callable[[Server], Coroutine[None, None, dict[str, float]]]]] = {
    "blocked": blocked,
    "waits": waits,
    "resolve": resolve,
    "fanout1000": fanout1000,
}


def report(create_database: Callable[[str], str], folder: Path, names: Sequence[str], *, is_signed: bool) -> None:
    """Run cases, each on a server and a database of its own, and print what was measured."""
    for name in names:
        with stepwell(create_database(name), folder, is_signed=is_signed, name=name) as server:
            found = asyncio.run(CASES[name](server))
        print(f"\n{name}")
        for title, value in found.items():
            print(f"    {title:40} {value:12,.2f}", flush=True)


def _percentile(values: Sequence[float], percent: int) -> float:
    return values[min(len(values) - 1, len(values) * percent // 100)] * 1000
