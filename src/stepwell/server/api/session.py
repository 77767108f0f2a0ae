"""Who is asking: what a page must know before it shows anything. Open to all, so it tells nothing else."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

import msgspec

from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.auth import is_authenticated


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """This server as whoever asks may use it."""

    mode: Literal["dev", "start"]
    is_authenticated: bool
    """In dev, everybody is."""
    needs_setup: bool
    """There is no account yet: the set-up link makes it."""
    login_refused: str | None
    """Why nobody can log in by the way that this request came, and what to do; null where they can."""
    version: str
    environment: str
    url: str
    can_demo: bool
    can_skip_sleeps: bool


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints about sessions."""
    path = "/api/session"
    return [Endpoint("GET", path, "Show who is asking", SessionView, show_session, query=Nothing, body=Nothing)]


async def show_session(call: Call[Nothing, Nothing]) -> SessionView:
    """Show how this server may be used by whoever asks."""
    context = call.context
    is_dev = context.settings.is_dev
    return SessionView(
        mode="dev" if is_dev else "start",
        is_authenticated=is_authenticated(call.request.scope),
        needs_setup=False,
        login_refused=None,
        version=version("stepwell"),
        environment=context.engine.environment,
        url=context.settings.url,
        can_demo=is_dev,
        can_skip_sleeps=is_dev,
    )
