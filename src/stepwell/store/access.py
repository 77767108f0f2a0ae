"""Who may come in: plans without I/O of the requests about the account, sessions and API tokens, and of reading them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias, assert_never

from stepwell.limits import API_TOKENS_MAX, SESSIONS_MAX
from stepwell.store.found import ApiToken, Credentials
from stepwell.store.query import Statement
from stepwell.store.request import (
    AccessRequest,
    AccountRequest,
    ResetRequest,
    SessionEndRequest,
    SessionRequest,
    SetupLinkRequest,
    TokenEndRequest,
    TokenRequest,
    TokenUseRequest,
    Verdict,
)
from stepwell.store.rows import Row

Deciding: TypeAlias = Generator[Statement, Sequence[Row], Verdict]
"""Yields statements; is sent their rows; returns whether the request was granted."""


def decide(request: AccessRequest) -> Deciding:
    """Yield the statements of one request, and return ``COMMITTED`` or ``REFUSED``."""
    match request:
        case SetupLinkRequest(hash, now, expires_at):
            yield Statement("setup_links_expire", parameters={"now": now})
            yield Statement("setup_link_make", parameters={"hash": hash, "expires_at": expires_at})
            return Verdict.COMMITTED
        case ResetRequest(hash, _, expires_at):
            # The links first: whoever has taken one has the account then, and loses it by the next statement.
            yield Statement("setup_links_drop")
            yield Statement("account_drop")
            yield Statement("sessions_drop")
            yield Statement("setup_link_make", parameters={"hash": hash, "expires_at": expires_at})
            return Verdict.COMMITTED
        case AccountRequest(link_hash, password, now):
            if not (yield Statement("setup_link_take", parameters={"hash": link_hash, "now": now})):
                return Verdict.REFUSED
            made = yield Statement("account_make", parameters={"password": password, "now": now})
            return _granted(made)
        case SessionRequest(hash, None, _, expires_at):
            return _granted((yield Statement("session_renew", parameters={"hash": hash, "expires_at": expires_at})))
        case SessionRequest(hash, password, now, expires_at):
            begun = yield Statement(
                "session_begin",
                parameters={"hash": hash, "password": password, "now": now, "expires_at": expires_at},
            )
            yield Statement("sessions_shrink", parameters={"now": now, "count_max": SESSIONS_MAX})
            return _granted(begun)
        case SessionEndRequest(hash):
            yield Statement("session_end", parameters={"hash": hash})
            return Verdict.COMMITTED
        case TokenRequest(id, name, hash, now):
            parameters = {"id": id, "name": name, "hash": hash, "now": now, "count_max": API_TOKENS_MAX}
            return _granted((yield Statement("api_token_make", parameters=parameters)))
        case TokenEndRequest(id):
            return _granted((yield Statement("api_token_end", parameters={"id": id})))
        case TokenUseRequest(id, now):
            yield Statement("api_token_use", parameters={"id": id, "now": now})
            return Verdict.COMMITTED
        case _:
            assert_never(request)


def load_credentials() -> Generator[Statement, Sequence[Row], Credentials]:
    """Return all by which somebody may come in."""
    accounts = yield Statement("account_get")
    sessions = yield Statement("session_list")
    tokens = yield Statement("api_token_list")
    return Credentials(
        password=accounts[0][0] if accounts else None,
        sessions={row[0]: row[1] for row in sessions},
        tokens=[ApiToken(*row) for row in tokens],
    )


def _granted(rows: Sequence[Row]) -> Verdict:
    return Verdict.COMMITTED if rows else Verdict.REFUSED
