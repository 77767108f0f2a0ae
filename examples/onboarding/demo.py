"""The demo: 300 people sign up, the server is killed in the middle, and three days go by. Run it with ``./dev demo``.

Everything in it is real: the server and the app are processes that talk HTTP, mails go by SMTP, the CRM fails, and the crash
is a ``kill -9``. Only time is not: the server's clock is moved ahead, from one thing that falls due to the next. At the end
what the server has recorded is checked against what has arrived outside, and the exit status says whether all is well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2

from examples.onboarding.account import DIGEST, ON_SIGN_UP, World, check, next_digest, read_counted, read_runs
from examples.onboarding.fake_crm import FakeCrm
from examples.onboarding.mail_sink import Mail, MailSink
from examples.onboarding.processes import Child, DemoError, clean_environ, installed, reserve_port, wait_until
from examples.onboarding.report import report, summarise
from examples.onboarding.screen import Counter, Screen
from examples.onboarding.signups import SignUp, read_signups
from stepwell import Event, Stepwell, StepwellError

USUAL_PORT = 8288
UVICORN = (sys.executable, "-m", "uvicorn", "--log-level=warning")
SKIP, NIGHTS = "3d", 3
BATCH_PART = 0.8  # of the sign-ups come in one request, the rest one by one
CRASH_PART = 0.2  # of the batch is welcomed when the server is killed
STALL_S = 30


class Demo:
    """The story, told once."""

    def __init__(
        self, screen: Screen, signups: Sequence[SignUp], folder: Path, *, server_port: int, app_port: int
    ) -> None:
        self.screen, self.signups = screen, signups
        self.sink, self.crm = MailSink(), FakeCrm()
        self.statistics = folder / "statistics.db"
        self.server_port, self.app_port = server_port, app_port
        self.server_url = f"http://127.0.0.1:{server_port}"
        self.app_url = f"http://127.0.0.1:{app_port}"
        self.functions_url = f"{self.app_url}/api/stepwell"
        self.server = Child("server", folder / "server.log")
        self.app = Child("app", folder / "app.log")
        self.db = folder / "stepwell.db"
        self.api = httpx2.AsyncClient(base_url=self.server_url, timeout=300)
        self.client = Stepwell("signup-import", url=self.server_url, is_dev=True)
        count = len(signups)
        self.first_day = [
            Counter("welcome mails", lambda: self.sink.delivered["welcome"], count),
            Counter("CRM contacts", lambda: len(self.crm.contacts), count),
            Counter("counted", lambda: len(read_counted(self.statistics)), count),
        ]
        self.later_days = [
            Counter("day-1 mails", lambda: self.sink.delivered["day-1"], count),
            Counter("day-3 mails", lambda: self.sink.delivered["day-3"], count),
            Counter("nightly digests", lambda: self.sink.delivered["digest"], NIGHTS),
        ]

    async def tell(self) -> bool:
        """Tell it; return whether all that was promised is so."""
        self.screen.title("Stepwell", f"{len(self.signups)} sign-ups, five functions, one crash, three days")
        started = time.monotonic()
        await self._start()
        next_before = await next_digest(self.api)
        async with self.screen.bars([*self.first_day, *self.later_days]):
            await self._sign_up()
            now = await self._skip()
            elapsed_s = time.monotonic() - started
            nights = (await next_digest(self.api) - next_before).days
            runs = await read_runs(self.api)
        world = World(
            emails=[signup["email"] for signup in self.signups],
            ids=[signup["id"] for signup in self.signups],
            runs=runs,
            sink=self.sink,
            crm=self.crm,
            counted=read_counted(self.statistics),
            nights=nights,
        )
        summarise(self.screen, world)
        is_well = report(self.screen, check(world))
        self.screen.line(
            "·", f"It took {elapsed_s:.1f} s. On the server's clock it is {now:%A, %d %B, %H:%M}.", style="dim"
        )
        return is_well

    async def _start(self) -> None:
        await self.sink.start()
        self.screen.line("✓", f"mail server  smtp://{self.sink.address}", "keeps what it gets, once")
        await self.crm.start()
        self.screen.line("✓", f"CRM          {self.crm.url}", "fails one time in three")
        await self.app.start(
            [*UVICORN, f"--port={self.app_port}", "examples.onboarding.app:app"],
            STEPWELL_DEV=self.server_url,
            SMTP_ADDRESS=self.sink.address,
            CRM_URL=self.crm.url,
            STATISTICS_DB=str(self.statistics),
        )
        await wait_until("the app to answer", lambda: self._answers(self.functions_url), self.app)
        self.screen.line("✓", f"app          {self.app_url}", "FastAPI, examples/onboarding/app.py")
        await self._start_server()
        await wait_until("the app's functions to be registered", self._is_registered, self.server, self.app)
        self.screen.line("✓", f"server       {self.server_url}", "stepwell dev, on an SQLite file")

    async def _start_server(self) -> None:
        flags = [f"--sdk-url={self.functions_url}", f"--port={self.server_port}", f"--db={self.db}"]
        await self.server.start([installed("stepwell"), "dev", *flags])
        await wait_until("the server to answer", lambda: self._answers(f"{self.server_url}/health"), self.server)

    async def _answers(self, url: str) -> bool:
        with contextlib.suppress(httpx2.TransportError):
            return (await self.api.get(url)).is_success
        return False

    async def _is_registered(self) -> bool:
        functions = (await self.api.get("/api/functions")).raise_for_status().json()["items"]
        return {function["slug"] for function in functions} == {*ON_SIGN_UP, DIGEST}

    async def _sign_up(self) -> None:
        """Send the sign-ups, and kill the server while it works on them."""
        self.screen.title("Day 0")
        count = max(1, round(len(self.signups) * BATCH_PART))
        batch, singles = self.signups[:count], self.signups[count:]
        crash = Crash(self.server, self.sink, at=max(1, round(count * CRASH_PART)))
        await self._send_batch(batch, "")
        await wait_until("the crash", crash.has_happened, self.app)
        await self.server.ended()
        self.screen.line("✗", f"kill -9 of the server, with {crash.at} users welcomed", style="red")
        began = time.monotonic()
        await self._start_server()
        self.screen.line("✓", f"started again on the same file, in {time.monotonic() - began:.1f} s", "nothing is lost")
        await self._send_batch(batch, "again, to be sure: the ids are known")
        for signup in singles:
            (await self.api.post(f"{self.app_url}/signups", json=signup)).raise_for_status()
        self.screen.line("→", f"{len(singles)} sign-ups, one by one", "through the app's POST /signups")
        await self._until_all(self.first_day[0], self.first_day[2])
        self.screen.line("✓", ", ".join(map(str, self.first_day)), "retries follow")

    async def _send_batch(self, signups: Sequence[SignUp], note: str) -> None:
        events = [Event("user.signedup", dict(signup), id=f"signup-{signup['id']}") for signup in signups]
        began = time.monotonic()
        await self.client.send(events)
        took = f"{(time.monotonic() - began) * 1000:.0f} ms"
        self.screen.line("→", f"{len(events)} sign-ups in one request, {took}", note)

    async def _skip(self) -> datetime.datetime:
        """Move the clock; every retry, sleep and schedule on the way falls due. Return the time on it."""
        self.screen.title("Three days later", f"stepwell skip {SKIP}")
        began = time.monotonic()

        async def skip() -> str:
            return (await self.api.post("/api/skip", json={"duration": SKIP})).raise_for_status().json()["now"]

        skipping = asyncio.create_task(skip())
        watching = asyncio.create_task(self._until_all(*self.first_day, *self.later_days[:2]))
        try:
            await asyncio.wait((skipping, watching), return_when=asyncio.FIRST_EXCEPTION)
            for task in (skipping, watching):
                if task.done():
                    task.result()
        finally:
            skipping.cancel()
            watching.cancel()
        await wait_until("the last runs to end", self._is_quiet, self.server, self.app)
        self.screen.line("✓", ", ".join(map(str, self.later_days)), f"in {time.monotonic() - began:.1f} s")
        return datetime.datetime.fromisoformat(skipping.result()).astimezone()

    async def _until_all(self, *counters: Counter) -> None:
        """Wait until counters are full. Raises ``DemoError`` when none of them moves for long."""
        seen, moved_at = "", time.monotonic()
        while not all(counter.is_full for counter in counters):
            for child in (self.server, self.app):
                child.check()
            now = ", ".join(map(str, counters))
            if now != seen:
                seen, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > STALL_S:
                raise DemoError(f"nothing has moved for {STALL_S} s: {now}")
            await asyncio.sleep(0.05)

    async def _is_quiet(self) -> bool:
        pages = [await self.api.get("/api/runs", params={"status": status}) for status in ("queued", "running")]
        return not any(page.raise_for_status().json()["items"] for page in pages)

    def invite(self) -> None:
        """Say what to try."""
        command = os.path.relpath(installed("stepwell"))
        event = shlex.quote('{"id": 1001, "name": "Ada", "email": "ada@example.com", "plan": "team"}')
        self.screen.title("Try", "in another terminal")
        if self.server_port != USUAL_PORT:
            self.screen.command(f"export STEPWELL_URL={self.server_url}")
        for words in (f"send user.signedup {event}", "runs", "runs show", "functions", "skip 3d", "--help"):
            self.screen.command(f"{command} {words}")
        self.screen.command(f"tail -f {self.server.log}")
        self.screen.line("·", "Ctrl-C ends it all.", style="dim")


class Crash:
    """Kills the server when so many users are welcomed, before it learns of the last one."""

    def __init__(self, server: Child, sink: MailSink, *, at: int) -> None:
        self.at = at
        self._server, self._sink = server, sink
        self._is_done = False
        sink.watch = self._look

    def _look(self, mail: Mail) -> None:
        if mail.kind == "welcome" and self._sink.delivered["welcome"] == self.at and not self._is_done:
            self._is_done = True
            self._server.kill()

    async def has_happened(self) -> bool:
        """Tell whether the server is dead."""
        return self._is_done


async def play(screen: Screen, options: argparse.Namespace) -> bool:
    """Tell the story, and leave nothing behind; return whether it went well."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stepwell-demo-")))
        ports = [stack.enter_context(reserve_port(wanted)) for wanted in (USUAL_PORT if options.stay else 0, 0)]
        server_port, app_port = (port.getsockname()[1] for port in ports)
        demo = Demo(screen, read_signups(options.signups), folder, server_port=server_port, app_port=app_port)
        for stop in (
            demo.sink.stop,
            demo.crm.stop,
            demo.api.aclose,
            demo.client.aclose,
            demo.app.stop,
            demo.server.stop,
        ):
            stack.push_async_callback(stop)
        try:
            is_well = await demo.tell()
        except (DemoError, StepwellError, httpx2.HTTPError) as error:
            screen.line("✗", f"the demo failed: {error}", type(error).__name__, style="red")
            is_well = False
        if not is_well:
            for child in (demo.server, demo.app):
                screen.log(f"the end of the {child.name}'s log", child.last_lines())
        elif options.stay:
            demo.invite()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return is_well


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="./dev demo", description="Run the onboarding example on a server of its own."
    )
    parser.add_argument("--stay", action="store_true", help="leave all of it running at the end, to play with")
    parser.add_argument("--signups", type=int, metavar="N", help="how many people sign up, at most 300 (the default)")
    options = parser.parse_args()
    if options.signups is not None and not 2 <= options.signups <= 300:
        parser.error("--signups must be between 2 and 300")
    clean_environ()
    screen = Screen()
    try:
        return 0 if asyncio.run(_interruptible(screen, options)) else 1
    except asyncio.CancelledError:
        screen.line("·", "Stopped. Nothing is left running, or on disk.", style="dim")
        return 130


async def _interruptible(screen: Screen, options: argparse.Namespace) -> bool:
    """Let signals end the story in order, as its own end does. A second one changes nothing: it ends soon anyway."""
    playing = asyncio.ensure_future(play(screen, options))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: playing.cancelling() or playing.cancel())
    return await playing


if __name__ == "__main__":
    sys.exit(main())
