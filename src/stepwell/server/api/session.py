"""Who is asking, logging in and out, the set-up of the account, and API tokens.

What is open to all tells nothing but what a page must know before it shows anything.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from starlette.responses import Response

from stepwell.limits import API_TOKEN_NAME_CHARS_MAX, API_TOKENS_MAX, LOGIN_BODY_BYTES_MAX
from stepwell.protocol.duration import time_text
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.api.page import is_ulid
from stepwell.server.auth import is_authenticated
from stepwell.server.context import ApiError, json_response
from stepwell.server.cookie import (
    client_address,
    headers_of,
    host_name,
    is_of_this_machine,
    is_secure,
    session_cookie,
    session_token,
)
from stepwell.store.found import ApiToken

AnyCall: TypeAlias = Call[Any, Any]


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


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The account's password."""

    password: str


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a set-up link has behind its ``#``, and the password that the account gets."""

    token: str
    password: str


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """An API token, which itself is shown only once."""

    id: str
    name: str
    created_at: str
    last_used_at: str | None
    """To the hour."""


class NewToken(TokenView, frozen=True, kw_only=True):
    """An API token as it is shown once."""

    token: str


class TokenList(msgspec.Struct, frozen=True):
    """The API tokens that are stored, the oldest first; those of the settings are not among them."""

    items: list[TokenView]


class TokenName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token is for."""

    name: Annotated[str, msgspec.Meta(max_length=API_TOKEN_NAME_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]+$")]
    """No control characters: it is shown on terminals, too."""


class Revoked(msgspec.Struct, frozen=True):
    """The token that was revoked."""

    id: str


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints about sessions."""
    path, tokens = "/api/session", "/api/tokens"
    return [
        Endpoint(
            "GET",
            path,
            "Show who is asking",
            SessionView,
            show_session,
            query=Nothing,
            body=Nothing,
            body_bytes_max=LOGIN_BODY_BYTES_MAX,
        ),
        Endpoint("POST", path, "Log in", SessionView, log_in, Nothing, Login, body_bytes_max=LOGIN_BODY_BYTES_MAX),
        Endpoint(
            "DELETE",
            path,
            "Log out",
            SessionView,
            log_out,
            query=Nothing,
            body=Nothing,
            body_bytes_max=LOGIN_BODY_BYTES_MAX,
        ),
        Endpoint(
            "POST",
            "/api/setup",
            "Make the account, and log in",
            SessionView,
            set_up,
            query=Nothing,
            body=Setup,
            body_bytes_max=LOGIN_BODY_BYTES_MAX,
        ),
        Endpoint("GET", tokens, "List API tokens", TokenList, list_tokens, query=Nothing, body=Nothing),
        Endpoint("POST", tokens, "Make an API token", NewToken, make_token, query=Nothing, body=TokenName),
        Endpoint(
            "DELETE", f"{tokens}/{{id}}", "Revoke an API token", Revoked, revoke_token, query=Nothing, body=Nothing
        ),
    ]


async def show_session(call: Call[Nothing, Nothing]) -> SessionView:
    """Show how this server may be used by whoever asks."""
    return await _view(call, is_known=is_authenticated(call.request.scope))


async def log_in(call: Call[Nothing, Login]) -> Response:
    """Begin a session, whose cookie comes with the answer."""
    _check_login(call)
    token = await call.context.access.log_in(call.body.password, client_address(call.request.scope))
    return await _answer(call, token)


async def set_up(call: Call[Nothing, Setup]) -> Response:
    """Make the account by the set-up link, and begin a session."""
    _check_login(call)
    address = client_address(call.request.scope)
    token = await call.context.access.set_up(call.body.token, call.body.password, address)
    return await _answer(call, token)


async def log_out(call: Call[Nothing, Nothing]) -> Response:
    """End the session of the request, if it has one."""
    token = session_token(call.request.scope)
    if token is not None:
        await call.context.access.log_out(token)
    return await _answer(call, None)


async def list_tokens(call: Call[Nothing, Nothing]) -> TokenList:
    """List the stored API tokens."""
    return TokenList([TokenView(**_fields(token)) for token in await call.context.access.list_tokens()])


async def make_token(call: Call[Nothing, TokenName]) -> NewToken:
    """Make an API token, which is shown once."""
    context = call.context
    made = await context.access.make_token(context.engine.ids(), call.body.name)
    if made is None:
        raise ApiError(409, "too_many_tokens", f"there are {API_TOKENS_MAX} API tokens: revoke one that isn't used")
    token, secret = made
    return NewToken(**_fields(token), token=secret)


async def revoke_token(call: Call[Nothing, Nothing]) -> Revoked:
    """Revoke an API token."""
    id = call.path["id"]
    if not is_ulid(id) or not await call.context.access.revoke_token(id):
        raise ApiError(404, "token_not_found", f"there is no API token with the id {id[:100]!r}")
    return Revoked(id)


def _fields(token: ApiToken) -> dict[str, Any]:
    used_at = token.last_used_at
    return {
        "id": token.id,
        "name": token.name,
        "created_at": time_text(token.created_at),
        "last_used_at": time_text(used_at) if used_at is not None else None,
    }


async def _answer(call: AnyCall, token: str | None) -> Response:
    view = await _view(call, is_known=token is not None or call.context.settings.is_dev)
    return json_response(view, headers={"Set-Cookie": session_cookie(token, call.request.scope)})


def _check_login(call: AnyCall) -> None:
    if call.context.settings.is_dev:
        raise ApiError(409, "no_login", "a dev server has no login: it answers this machine")
    why = _login_refused(call)
    if why is not None:
        raise ApiError(403, "insecure_login", why)


def _login_refused(call: AnyCall) -> str | None:
    """Say why a password may not come by this way: in the clear, from another machine."""
    settings, scope = call.context.settings, call.request.scope
    if settings.is_dev or settings.is_login_insecure or is_secure(scope) or is_of_this_machine(scope):
        return None
    return (
        "a password would cross the network unencrypted: open this page over https (a proxy in front must send"
        " X-Forwarded-Proto: https), or by localhost through an SSH tunnel; on a network that you trust, start the"
        " server with --insecure-login"
    )


def _url(call: AnyCall) -> str:
    """Return the address by which the request came, which is the one that others can use, too."""
    hosts = headers_of(call.request.scope, b"host")
    if call.context.settings.is_dev or len(hosts) != 1 or not host_name(hosts[0]):
        return call.context.settings.url
    return f"{'https' if is_secure(call.request.scope) else 'http'}://{hosts[0]}"


async def _view(call: AnyCall, *, is_known: bool) -> SessionView:
    context = call.context
    is_dev = context.settings.is_dev
    return SessionView(
        mode="dev" if is_dev else "start",
        is_authenticated=is_known,
        needs_setup=not is_dev and await context.access.needs_setup(),
        login_refused=_login_refused(call),
        version=version("stepwell"),
        environment=context.engine.environment,
        url=_url(call),
        can_demo=is_dev,
        can_skip_sleeps=is_dev,
    )
