"""Who is asking: what a page is told before it shows anything."""

from __future__ import annotations

from importlib.metadata import version

from tests.server.world import World


async def test_in_dev_everybody_is_known(world: World) -> None:
    assert await world.get("/api/session") == {
        "mode": "dev",
        "is_authenticated": True,
        "needs_setup": False,
        "login_refused": None,
        "version": version("stepwell"),
        "environment": "dev",
        "url": "http://127.0.0.1:8288",
        "can_demo": True,
        "can_skip_sleeps": True,
    }


async def test_a_production_server_tells_strangers_that_they_are_none_it_knows(production: World) -> None:
    del production.client.headers["Authorization"]

    shown = await production.get("/api/session")

    assert (shown["mode"], shown["is_authenticated"]) == ("start", False)
    assert (shown["can_demo"], shown["can_skip_sleeps"]) == (False, False)


async def test_an_api_token_is_known(production: World) -> None:
    assert (await production.get("/api/session"))["is_authenticated"]
