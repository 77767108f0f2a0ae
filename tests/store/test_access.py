"""Who may come in: the account and its links, sessions, API tokens."""

from __future__ import annotations

import asyncio

from stepwell.limits import API_TOKENS_MAX, SESSIONS_MAX
from stepwell.store.found import ApiToken
from stepwell.store.interface import Store
from stepwell.store.request import (
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
from tests.store.database import Database
from tests.unit.engine.making import T0

LATER = T0 + 1_000
COMMITTED, REFUSED = Verdict.COMMITTED, Verdict.REFUSED


async def verdict(store: Store, request: object) -> Verdict:
    return (await store.submit(request)).verdict  # type: ignore[arg-type]


async def made(store: Store) -> None:
    """Make the account."""
    await store.submit(SetupLinkRequest("first", T0, LATER))
    assert await verdict(store, AccountRequest("first", "password", T0)) is COMMITTED


async def test_a_link_makes_the_account_once(store: Store) -> None:
    await store.submit(SetupLinkRequest("a", T0, LATER))
    await store.submit(SetupLinkRequest("b", T0, LATER))
    assert (await store.load_credentials()).password is None

    assert await verdict(store, AccountRequest("other", "p0", T0)) is REFUSED
    assert await verdict(store, AccountRequest("a", "p1", T0)) is COMMITTED
    assert await verdict(store, AccountRequest("a", "p2", T0)) is REFUSED
    assert await verdict(store, AccountRequest("b", "p3", T0)) is REFUSED

    assert (await store.load_credentials()).password == "p1"


async def test_a_link_that_is_over_makes_nothing(store: Store) -> None:
    await store.submit(SetupLinkRequest("a", T0, LATER))

    assert await verdict(store, AccountRequest("a", "p", LATER)) is REFUSED
    assert (await store.load_credentials()).password is None


async def test_of_two_replicas_links_one_makes_the_account(database: Database) -> None:
    first = await database.open()
    for link in ("a", "b"):
        await first.submit(SetupLinkRequest(link, T0, LATER))

    verdicts = await asyncio.gather(*(verdict(first, AccountRequest(link, link, T0)) for link in ("a", "b")))

    assert sorted(verdicts) == [COMMITTED, REFUSED]


async def test_a_reset_ends_sessions_and_links_and_the_account_but_no_token(store: Store) -> None:
    await store.submit(SetupLinkRequest("second", T0, LATER))
    await made(store)
    await store.submit(SessionRequest("s", "password", T0, LATER))
    await store.submit(TokenRequest("id", "ci", "t", T0))

    await store.submit(ResetRequest("new", T0, LATER))

    left = await store.load_credentials()
    assert (left.password, left.sessions, len(left.tokens)) == (None, {}, 1)
    assert await verdict(store, SessionRequest("s2", "password", T0, LATER)) is REFUSED
    assert await verdict(store, AccountRequest("second", "p", T0)) is REFUSED
    assert await verdict(store, AccountRequest("new", "p", T0)) is COMMITTED


async def test_a_session_begins_with_the_password_lasts_longer_and_ends(store: Store) -> None:
    await made(store)
    assert await verdict(store, SessionRequest("s", "another", T0, LATER)) is REFUSED
    assert await verdict(store, SessionRequest("s", "password", T0, LATER)) is COMMITTED

    assert await verdict(store, SessionRequest("s", None, T0, LATER + 1)) is COMMITTED
    assert (await store.load_credentials()).sessions == {"s": LATER + 1}
    assert await verdict(store, SessionRequest("unknown", None, T0, LATER + 1)) is REFUSED

    await store.submit(SessionEndRequest("s"))
    assert (await store.load_credentials()).sessions == {}
    assert await verdict(store, SessionRequest("s", None, T0, LATER + 2)) is REFUSED


async def test_sessions_that_are_over_or_too_many_go_with_the_next(store: Store) -> None:
    await made(store)
    await store.submit(SessionRequest("over", "password", T0, LATER))
    for number in range(SESSIONS_MAX + 1):
        await store.submit(SessionRequest(str(number), "password", LATER, LATER + 1 + number))

    sessions = (await store.load_credentials()).sessions

    assert sessions == {str(number): LATER + 1 + number for number in range(1, SESSIONS_MAX + 1)}


async def test_a_token_is_kept_used_and_revoked(store: Store) -> None:
    assert await verdict(store, TokenRequest("1", "ci", "hash-1", T0)) is COMMITTED
    assert await verdict(store, TokenRequest("2", "laptop", "hash-2", T0)) is COMMITTED

    await store.submit(TokenUseRequest("1", LATER))
    await store.submit(TokenUseRequest("1", T0))

    assert list((await store.load_credentials()).tokens) == [
        ApiToken("1", "ci", "hash-1", T0, LATER),
        ApiToken("2", "laptop", "hash-2", T0, None),
    ]
    assert await verdict(store, TokenEndRequest("1")) is COMMITTED
    assert await verdict(store, TokenEndRequest("1")) is REFUSED
    assert [token.id for token in (await store.load_credentials()).tokens] == ["2"]


async def test_there_are_only_so_many_tokens(store: Store) -> None:
    for number in range(API_TOKENS_MAX):
        assert await verdict(store, TokenRequest(str(number), "x", str(number), T0)) is COMMITTED

    assert await verdict(store, TokenRequest("more", "x", "more", T0)) is REFUSED
