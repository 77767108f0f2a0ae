"""Discovery: finds apps, keeps them current, and keeps quiet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stepwell.server import discovery
from stepwell.server.discovery import PATHS, Discovery
from stepwell.server.sync import new_client
from tests.server.fake_app import FakeApp, in_band, registers, says, serving
from tests.server.world import DEV, PRODUCTION, SIGNING_KEY, World, running


class Looking:
    """A server with its discovery, round by round, and what it said."""

    def __init__(self, world: World, found: Discovery, client: Any, said: list[str]) -> None:
        self.world, self._discovery, self._client, self.said = world, found, client, said

    async def look(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            await self._discovery.look(self._client)
            await self._discovery.settle()

    async def slugs(self) -> list[str]:
        return [view["slug"] for view in (await self.world.get("/api/functions"))["items"]]


@asynccontextmanager
async def looking(
    folder: Path, *, production: bool = False, ports: tuple[int, ...] = (), **settings: Any
) -> AsyncGenerator[Looking]:
    """Run discovery that is due in each round."""
    said: list[str] = []
    chosen = msgspec.structs.replace(PRODUCTION if production else DEV, poll_interval_s=0.0, **settings)
    async with running(folder, chosen, note=said.append, warn=said.append) as world, new_client() as client:
        yield Looking(world, Discovery(world.context, ports=ports), client, said)


async def test_a_given_app_is_synced_and_polled(tmp_path: Path) -> None:
    async with serving(FakeApp()) as app, looking(tmp_path, sdk_urls=(app.url,)) as it:
        app.answer = registers(it.world, app, "f")
        await it.look()
        before = await it.slugs()
        app.answer = registers(it.world, app, "f", "g")
        await it.look()

        assert (before, await it.slugs()) == (["f"], ["f", "g"])
        assert app.asked == ["PUT /api/inngest"] * 2
        assert it.said == []


async def test_an_app_is_found_on_a_usual_port_and_then_polled(tmp_path: Path) -> None:
    async with serving(FakeApp()) as app, looking(tmp_path, ports=(app.port,)) as it:
        app.answer = registers(it.world, app, "f")
        await it.look(3)

        assert await it.slugs() == ["f"]
        assert "GET /api/inngest" in app.asked
        assert [asked for asked in app.asked if asked.startswith("GET")].count("GET /api/inngest") == 1
        assert app.asked.count("PUT /api/inngest") == 3


async def test_an_app_in_production_mode_is_found_and_the_fix_is_said(tmp_path: Path) -> None:
    """It answers 401 without its SDK's name, but says that an SDK handled the request (protocol 3.6)."""

    class Refusing(FakeApp):
        async def handle(self, request: Any) -> Any:
            answer = await super().handle(request)
            if request.path == self.path:
                answer = says(401, "Unauthorized", is_sdk=False)
                answer.headers["X-Inngest-Sdk-Handled"] = "true"
            return answer

    async with serving(Refusing()) as app, looking(tmp_path, ports=(app.port,)) as it:
        await it.look(3)

        [line] = it.said
        assert "INNGEST_DEV=1" in line


async def test_another_program_is_asked_once_and_left_alone(tmp_path: Path) -> None:
    async with serving(FakeApp(is_app=False)) as other, looking(tmp_path, ports=(other.port,)) as it:
        await it.look(5)

        assert other.asked == [f"GET {path}" for path in PATHS]
        assert it.said == []


async def test_a_port_that_was_closed_in_between_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open = True

    async def accepts(_port: int) -> bool:
        return is_open

    monkeypatch.setattr(discovery, "_accepts", accepts)
    async with serving(FakeApp(is_app=False)) as app, looking(tmp_path, ports=(app.port,)) as it:
        await it.look(2)
        is_open = False
        await it.look()
        is_open, app.is_app = True, True
        app.answer = registers(it.world, app, "f")
        await it.look(2)

        assert await it.slugs() == ["f"]


async def test_another_program_is_asked_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_ASK_AGAIN_S_MIN", 0.0)
    async with serving(FakeApp(is_app=False)) as other, looking(tmp_path, ports=(other.port,)) as it:
        await it.look(3)

        assert len(other.asked) == 3 * len(PATHS)


def test_another_program_is_asked_ever_more_rarely() -> None:
    port = discovery._Port()
    asked_at: list[float] = []
    for _ in range(8):
        port.was_no_app(0.0)
        asked_at.append(port.ask_at)
    assert asked_at == [15, 30, 60, 120, 240, 300, 300, 300]


async def test_closed_ports_cost_no_request_and_no_line(tmp_path: Path) -> None:
    async with serving(FakeApp()) as app:
        port = app.port
    async with looking(tmp_path, ports=(port,)) as it:
        await it.look(3)

        assert it.said == []


async def test_with_given_urls_no_port_is_looked_at(tmp_path: Path) -> None:
    async with (
        serving(FakeApp()) as given,
        serving(FakeApp()) as other,
        looking(tmp_path, sdk_urls=(given.url,), ports=(other.port,)) as it,
    ):
        await it.look(2)

        assert other.asked == []


@pytest.mark.parametrize("settings", [{"is_discovery_on": False}, {"production": True}])
async def test_discovery_can_be_off(tmp_path: Path, settings: Any) -> None:
    async with serving(FakeApp()) as app, looking(tmp_path, ports=(app.port,), **settings) as it:
        await it.look(2)

        assert app.asked == []


async def test_without_polling_an_app_is_asked_until_it_is_synced(tmp_path: Path) -> None:
    async def down(_request: Any) -> Any:
        return says(503, "starting")

    async with serving(FakeApp(down)) as app, looking(tmp_path, sdk_urls=(app.url,), is_polling_on=False) as it:
        await it.look(2)
        app.answer = registers(it.world, app, "f")
        await it.look(4)

        assert await it.slugs() == ["f"]
        assert len(app.asked) == 3


async def test_a_failure_is_said_once_and_again_when_it_changes_or_ends(tmp_path: Path) -> None:
    async def answer(_request: Any) -> Any:
        return says(status, "why")

    async with serving(FakeApp()) as app, looking(tmp_path, sdk_urls=(app.url,)) as it:
        app.answer = registers(it.world, app, "f")
        await it.look()
        app.answer = answer
        status = 500
        await it.look(3)
        status = 404
        await it.look(3)
        app.answer = registers(it.world, app, "f")
        await it.look(3)

        assert [line.partition("answer")[2][:7] for line in it.said] == ["ed 500 ", "ed 404:", "s again"]
        assert all(app.url in line for line in it.said)


async def test_an_app_that_registers_elsewhere_is_said_once(tmp_path: Path) -> None:
    async with serving(FakeApp()) as app, looking(tmp_path, sdk_urls=(app.url,)) as it:
        await it.look(3)

        [line] = it.said
        assert "INNGEST_BASE_URL should be http://127.0.0.1:8288" in line


async def test_a_registered_app_is_polled_after_a_restart_and_forgotten_when_removed(tmp_path: Path) -> None:
    async with serving(FakeApp()) as app, looking(tmp_path) as it:
        await registers(it.world, app, "f")(None)  # type: ignore[arg-type]
        app.answer = registers(it.world, app, "f")
        await it.look(2)
        polled = len(app.asked)
        await it.world.client.delete("/api/apps/shop")
        await it.look(2)

        assert (polled, len(app.asked)) == (2, 2)


async def test_in_production_a_given_app_is_synced_signed(tmp_path: Path) -> None:
    async with (
        serving(FakeApp()) as app,
        looking(tmp_path, production=True, sdk_urls=(app.url,), is_polling_on=False) as it,
    ):
        app.answer = in_band(app, SIGNING_KEY, "f")
        await it.look(3)

        assert await it.slugs() == ["f"]
        assert len(app.asked) == 1
