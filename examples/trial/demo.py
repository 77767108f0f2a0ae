"""The demo: four teams try a product for two weeks, which take some seconds. Run it with ``./dev demo trial``.

Server and app are processes that talk HTTP; the server's clock is moved ahead, a day at a time. At the end what steps have
done is checked against what the teams did, and the exit status says whether all is well.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx2

from examples.onboarding.processes import Child, DemoError, clean_environ, installed, reserve_port, wait_until
from examples.onboarding.report import report
from examples.onboarding.screen import Screen
from examples.trial.account import FILES, PAGES, TEAMS, THEMES, Team, World, check, read_journal
from stepwell import Event, Stepwell, StepwellError

FUNCTION_COUNT = 5
DAYS = 15


class Demo:
    """The story, told once."""

    def __init__(self, screen: Screen, folder: Path, *, server_port: int, app_port: int) -> None:
        self.screen = screen
        self.journal = folder / "journal.jsonl"
        self.db = folder / "stepwell.db"
        self.server_port, self.app_port = server_port, app_port
        self.server_url = f"http://127.0.0.1:{server_port}"
        self.app_url = f"http://127.0.0.1:{app_port}"
        self.server = Child("server", folder / "server.log")
        self.app = Child("app", folder / "app.log")
        self.api = httpx2.AsyncClient(base_url=self.server_url, timeout=300)
        self.client = Stepwell("teams", url=self.server_url, is_dev=True)

    async def tell(self) -> bool:
        """Tell it, day by day; return whether all that was promised is so.

        A day's skip begins when nothing is under way any more, and batches and debounces end on it.
        """
        self.screen.title("Stepwell", f"{len(TEAMS)} teams, two weeks of trial")
        await self._start()
        for day in range(DAYS):
            deeds = [deed for team in TEAMS for deed in self._deeds(team, day)]
            if day == 0 or deeds:
                self.screen.title(f"Day {day}")
            if day == 0:
                await self._send(self._first_events())
            await self._send(deeds)
            (await self.api.post("/api/skip", json={"duration": "1d"})).raise_for_status()
        await wait_until("the last runs to end", self._is_quiet, self.server, self.app)
        return report(self.screen, check(await self._world()))

    async def _send(self, events: Sequence[Event]) -> None:
        for name in dict.fromkeys(event.name for event in events):
            self.screen.line("→", f"{sum(event.name == name for event in events)} of {name}")
        if events:
            await self.client.send(events)

    def _first_events(self) -> list[Event]:
        return [
            *(Event("trial.started", {"team": team.name}) for team in TEAMS),
            *(Event("settings.changed", {"team": "ada", "theme": theme}) for theme in THEMES),
            *(
                Event("file.uploaded", {"team": team, "file": f"{number}.csv"})
                for team, count in FILES.items()
                for number in range(count)
            ),
            *(
                Event("page.changed", {"team": team, "page": number})
                for team, count in PAGES.items()
                for number in range(count)
            ),
        ]

    def _deeds(self, team: Team, day: int) -> list[Event]:
        deeds = {
            "project.created": team.project_on,
            "plan.bought": team.buys_on,
            "team.deleted": team.is_deleted_on,
        }
        return [Event(name, {"team": team.name, "plan": "pro"}) for name, on in deeds.items() if on == day]

    async def _start(self) -> None:
        functions_url = f"{self.app_url}/api/stepwell"
        await self.app.start(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "--log-level=warning",
                f"--port={self.app_port}",
                "examples.trial.app:app",
            ],
            STEPWELL_DEV=self.server_url,
            JOURNAL=str(self.journal),
        )
        await wait_until("the app to answer", lambda: self._answers(functions_url), self.app)
        self.screen.line("✓", f"app     {self.app_url}", "examples/trial/app.py")
        flags = [f"--sdk-url={functions_url}", f"--port={self.server_port}", f"--db={self.db}"]
        await self.server.start([installed("stepwell"), "dev", *flags])
        await wait_until("the server to answer", lambda: self._answers(f"{self.server_url}/health"), self.server)
        await wait_until("the app's functions to be registered", self._is_registered, self.server, self.app)
        self.screen.line("✓", f"server  {self.server_url}", "stepwell dev, on an SQLite file")

    async def _answers(self, url: str) -> bool:
        with contextlib.suppress(httpx2.TransportError):
            return (await self.api.get(url)).is_success
        return False

    async def _is_registered(self) -> bool:
        functions = (await self.api.get("/api/functions")).raise_for_status().json()["items"]
        return len(functions) == FUNCTION_COUNT

    async def _is_quiet(self) -> bool:
        pages = [await self.api.get("/api/runs", params={"status": status}) for status in ("queued", "running")]
        return not any(page.raise_for_status().json()["items"] for page in pages)

    async def _world(self) -> World:
        outcomes: dict[str, str] = {}
        for summary in await self._runs("product-trial"):
            run = (await self.api.get(f"/api/runs/{summary['id']}")).raise_for_status().json()
            team = run["event"]["data"]["team"]
            outcomes[team] = run["output"] if run["status"] == "completed" else run["status"]
        indexing = [run for run in await self._runs("product-index-pages") if run["status"] == "completed"]
        return World(read_journal(self.journal), outcomes, {"index-pages": len(indexing)})

    async def _runs(self, function: str) -> Sequence[dict[str, str]]:
        page = await self.api.get("/api/runs", params={"function": function, "limit": 100})
        return page.raise_for_status().json()["items"]


async def play(screen: Screen) -> bool:
    """Tell the story, and leave nothing behind; return whether it went well."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stepwell-demo-")))
        ports = [stack.enter_context(reserve_port()) for _ in range(2)]
        server_port, app_port = (port.getsockname()[1] for port in ports)
        demo = Demo(screen, folder, server_port=server_port, app_port=app_port)
        for stop in (demo.api.aclose, demo.client.aclose, demo.app.stop, demo.server.stop):
            stack.push_async_callback(stop)
        try:
            is_well = await demo.tell()
        except (DemoError, StepwellError, httpx2.HTTPError) as error:
            screen.line("✗", f"the demo failed: {error}", type(error).__name__, style="red")
            is_well = False
        if not is_well:
            for child in (demo.server, demo.app):
                screen.log(f"the end of the {child.name}'s log", child.last_lines())
        return is_well


def main() -> int:
    """Run the demo; return the exit status."""
    clean_environ()
    screen = Screen()
    try:
        return 0 if asyncio.run(_interruptible(screen)) else 1
    except asyncio.CancelledError:
        screen.line("·", "Stopped. Nothing is left running, or on disk.", style="dim")
        return 130


async def _interruptible(screen: Screen) -> bool:
    """Let signals end the story in order, as its own end does."""
    playing = asyncio.ensure_future(play(screen))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: playing.cancelling() or playing.cancel())
    return await playing


if __name__ == "__main__":
    sys.exit(main())
