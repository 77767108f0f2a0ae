"""Several replicas on one PostgreSQL, and an app that takes its time: how runs/s grow with the replicas.

Each replica may have 10 calls under way, and a call takes 50 ms, so that N replicas can do 200 N runs/s at best. Events go to
them in turns; the app is this process, and takes hardly more of a core than a client.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.server import EVENT_KEY, SIGNING_KEY, Server, stepwell
from bench.yardstick.nullapp import App, Call, Client, Peer, dumps, now

CALL_S: Final = 0.05
CALLS_PER_APP: Final = 10
EVENTS_PER_REPLICA: Final = 1000
_EVENTS_PER_REQUEST: Final = 20
_SENDERS_PER_REPLICA: Final = 2
_STALL_S: Final = 30.0
RATIOS_MIN: Final = {2: 1.8, 4: 3.4}
"""What is asked for, over one replica."""


class SlowPeer(Peer):
    """The app's side of one connection; each answer leaves 50 ms after its call came."""

    def respond(self, method: str, target: str, body: bytes) -> None:
        answer = super().respond
        if method == "POST":
            asyncio.get_running_loop().call_later(CALL_S, answer, method, target, body)
        else:
            answer(method, target, body)


class SlowApp(App):
    """An app with one function, without steps; it knows which runs have come to their end."""

    def __init__(self, server: Server) -> None:
        is_signed = bool(server.arguments)
        super().__init__(
            server.url,
            event_key=EVENT_KEY if is_signed else "bench",
            signing_key=SIGNING_KEY if is_signed else None,
        )
        self.event = f"bench/replicas.{uuid.uuid4().hex[:8]}"
        self.ended: Counter[str] = Counter()
        self.ended_at = 0.0
        self.more = asyncio.Event()
        self.fn("replicas", self.event, self.end)

    def end(self, call: Call) -> tuple[int, None]:
        self.ended[call.run] += 1
        self.ended_at = now()
        self.more.set()
        return 200, None

    async def start(self) -> None:
        server = await asyncio.get_running_loop().create_server(lambda: SlowPeer(self), "127.0.0.1", 0, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api/inngest"

    async def wait(self, count: int) -> None:
        """Wait until so many runs have ended; raises ``TimeoutError`` when none does for long."""
        while self.ended.total() < count:
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), _STALL_S)


async def measure(servers: Sequence[Server]) -> float:
    """Send each replica its share of events, and return runs/s from the first event to the last reply."""
    app = SlowApp(servers[0])
    await app.start()
    await app.register()
    clients = [Client(server.url) for server in servers]

    async def send(client: Client, count: int) -> None:
        events = [{"name": app.event, "data": {}} for _ in range(count)]
        status, body = await client.post(f"/e/{app.event_key}", dumps(events))
        if status != 200:
            raise SystemExit(f"events were refused: {status} {body!r}")

    # Each replica has called the app, so knows its functions, before the time begins.
    for done, client in enumerate(clients, start=1):
        await send(client, 1)
        await app.wait(done)
    app.ended.clear()
    began = now()

    async def sender(client: Client) -> None:
        for _ in range(EVENTS_PER_REPLICA // _SENDERS_PER_REPLICA // _EVENTS_PER_REQUEST):
            await send(client, _EVENTS_PER_REQUEST)

    await asyncio.gather(*(sender(client) for client in clients for _ in range(_SENDERS_PER_REPLICA)))
    count = EVENTS_PER_REPLICA * len(servers)
    try:
        await app.wait(count)
    except TimeoutError:
        raise SystemExit(f"{len(servers)} replicas: {count - app.ended.total()} of {count} runs did not end") from None
    twice = [run for run, times in app.ended.items() if times > 1]
    if twice:
        raise SystemExit(f"{len(servers)} replicas: ended twice: {json.dumps(twice[:10])}")
    return count / (app.ended_at - began)


def report(
    create_database: Callable[[], str], folder: Path, counts: Sequence[int], *, rounds: int, is_signed: bool
) -> None:
    """Measure each number of replicas, in turns, each time on a database of its own, and print the medians."""
    found: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            db = create_database()
            with ExitStack() as stack:
                flags = ("--calls-per-app", str(CALLS_PER_APP))
                servers = [
                    stack.enter_context(stepwell(db, folder, *flags, is_signed=is_signed, name=f"replica-{number}"))
                    for number in range(1, count + 1)
                ]
                found[count].append(asyncio.run(measure(servers)))
    medians = {count: statistics.median(values) for count, values in found.items()}
    best = CALLS_PER_APP / CALL_S
    title = f"replicas; {CALL_S * 1000:.0f} ms a call, {CALLS_PER_APP} calls each"
    print(f"\n{title:34} {'at best':>10} {'stepwell':>10} {'':9} {'ratio':>6}   (medians of {rounds})")
    for count, median in medians.items():
        ratio = f"{median / medians[1]:6.2f}" if 1 in medians else ""
        asked = f"asked for {RATIOS_MIN[count]}" if count in RATIOS_MIN else ""
        print(f"{count:34} {best * count:10,.0f} {median:10,.1f} {'runs/s':9} {ratio:>6}   {asked}", flush=True)
