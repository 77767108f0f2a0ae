"""Who comes in by a login or an API token: the account, sessions, set-up links and tokens of one server.

Only hashes are stored. They are read all at once and kept in memory for a few seconds, so that requests need no query:
what another replica revoked is good here for so long (``CREDENTIALS_KEPT_S``); what this one revoked is so at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from stepwell.engine.clock import Clock
from stepwell.errors import StoreError
from stepwell.limits import (
    API_TOKEN_USE_MS,
    CREDENTIALS_KEPT_S,
    CREDENTIALS_UNKNOWN_S,
    PASSWORD_CHARS_MAX,
    PASSWORD_CHARS_MIN,
    SESSION_MS,
    SESSION_RENEWAL_MS,
    SETUP_LINK_MS,
)
from stepwell.server.attempts import Attempts
from stepwell.server.context import ApiError
from stepwell.server.password import hash_password, is_password
from stepwell.store.found import ApiToken, Credentials
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

_SECRET_BYTES: Final = 32
_TOKEN_PREFIX: Final = "sw_"  # noqa: S105 - by which leaked ones are found


class Access:
    """Lets people and programs in. ``api_tokens`` are those of the settings, which need no database."""

    def __init__(self, store: Store, clock: Clock, api_tokens: Sequence[str] = ()) -> None:
        self._store, self._clock = store, clock
        self._fixed = [_digest(token) for token in api_tokens]
        self._attempts = Attempts(clock)
        self._hashing = asyncio.Lock()  # one at a time: each takes 16 MiB
        self._reading = asyncio.Lock()
        self._known: Credentials | None = None
        self._read_s = 0.0
        self.change_count = 0
        """How often something of this changed here."""

    # -- set-up -------------------------------------------------------------------------------------------------

    async def needs_setup(self) -> bool:
        """Tell whether there is no account yet."""
        return (await self._credentials(CREDENTIALS_UNKNOWN_S)).password is None

    async def make_setup_link(self) -> str | None:
        """Return the path of a new link by which the account can be made, once; None where there is an account."""
        if not await self.needs_setup():
            return None
        token = secrets.token_urlsafe(_SECRET_BYTES)
        now = self._clock.now()
        await self._store.submit(SetupLinkRequest(_digest(token), now, now + SETUP_LINK_MS))
        return setup_path(token)

    async def set_up(self, link: str, password: str, address: str) -> str:
        """Make the account by a link, which is used up, and return the token of a first session."""
        if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
            raise ApiError(
                400,
                "invalid_password",
                f"a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX:,} characters, not {len(password):,}",
                path="$.password",
            )
        self._attempts.begin(address)
        async with self._hashing:
            kept = await asyncio.to_thread(hash_password, password)
        result = await self._store.submit(AccountRequest(_digest(link), kept, self._clock.now()))
        if result.verdict is not Verdict.COMMITTED:
            raise ApiError(
                403,
                "invalid_setup_link",
                "the set-up link was used already, or is over: restart the server without an account, or run"
                " `stepwell account reset`, for a new one",
            )
        self._attempts.succeeded(address)
        return await self._begin(kept)

    # -- sessions -----------------------------------------------------------------------------------------------

    async def log_in(self, password: str, address: str) -> str:
        """Return the token of a new session. Raises ``ApiError``: 401, 409 without an account, 429 after failures."""
        self._attempts.begin(address)  # first: what guesses cost the database would be waited for by all who are in
        kept = (await self._credentials(0.0)).password
        if kept is None:
            self._attempts.succeeded(address)
            raise ApiError(409, "needs_setup", "there is no account yet: open the set-up link that the server printed")
        async with self._hashing:
            is_right = await asyncio.to_thread(is_password, password[:PASSWORD_CHARS_MAX], kept)
        if not is_right:
            raise ApiError(401, "wrong_password", "that is not the password", path="$.password")
        self._attempts.succeeded(address)
        return await self._begin(kept)

    async def _begin(self, kept: str) -> str:
        token, now = secrets.token_urlsafe(_SECRET_BYTES), self._clock.now()
        result = await self._store.submit(SessionRequest(_digest(token), kept, now, now + SESSION_MS))
        self._forget()
        if result.verdict is not Verdict.COMMITTED:
            raise ApiError(409, "needs_setup", "the account was reset meanwhile: open the new set-up link")
        return token

    async def is_session(self, token: str) -> bool:
        """Tell whether a session is under way."""
        return await self._session_end(_digest(token)) is not None

    async def renew(self, token: str) -> bool:
        """Let a session last longer, at most once a day; tell whether that was done."""
        digest, now = _digest(token), self._clock.now()
        ends_at = await self._session_end(digest)
        if ends_at is None or ends_at > now + SESSION_MS - SESSION_RENEWAL_MS:
            return False
        try:
            result = await self._store.submit(SessionRequest(digest, None, now, now + SESSION_MS))
        except StoreError:
            return False
        self._forget()
        return result.verdict is Verdict.COMMITTED

    async def log_out(self, token: str) -> None:
        """End a session, if it is one: strangers make nobody write."""
        if not await self.is_session(token):
            return
        await self._store.submit(SessionEndRequest(_digest(token)))
        self._forget()

    async def _session_end(self, digest: str) -> int | None:
        for age_s in (CREDENTIALS_KEPT_S, CREDENTIALS_UNKNOWN_S):
            ends_at = (await self._credentials(age_s)).sessions.get(digest)
            if ends_at is not None:
                return ends_at if ends_at > self._clock.now() else None
        return None

    # -- API tokens ---------------------------------------------------------------------------------------------

    async def is_api_token(self, token: str) -> bool:
        """Tell whether a token is one of the settings, or a stored one; of these it is noted that they are used."""
        digest = _digest(token)
        # A sum, not any(): each token is compared, whichever fits.
        if sum(hmac.compare_digest(digest, fixed) for fixed in self._fixed) > 0:
            return True
        if not token.startswith(_TOKEN_PREFIX):
            return False
        for age_s in (CREDENTIALS_KEPT_S, CREDENTIALS_UNKNOWN_S):
            known = (await self._credentials(age_s)).tokens
            found = [one for one in known if hmac.compare_digest(digest, one.hash)]
            if found:
                await self._note_use(found[0])
                return True
        return False

    async def _note_use(self, token: ApiToken) -> None:
        now = self._clock.now()
        if token.last_used_at is None or token.last_used_at <= now - API_TOKEN_USE_MS:
            with contextlib.suppress(StoreError):  # then it is noted next time
                await self._store.submit(TokenUseRequest(token.id, now))
                self._forget()

    async def list_tokens(self) -> Sequence[ApiToken]:
        """Return all stored tokens, the oldest first."""
        return (await self._credentials(0.0)).tokens

    async def make_token(self, id: str, name: str) -> tuple[ApiToken, str] | None:
        """Make a token, and return it with its secret, which nobody sees again; None where there are too many."""
        secret, now = f"{_TOKEN_PREFIX}{secrets.token_urlsafe(_SECRET_BYTES)}", self._clock.now()
        result = await self._store.submit(TokenRequest(id, name, _digest(secret), now))
        self._forget()
        if result.verdict is not Verdict.COMMITTED:
            return None
        return ApiToken(id, name, "", now, None), secret

    async def revoke_token(self, id: str) -> bool:
        """Revoke a token; False where there is none with this id."""
        result = await self._store.submit(TokenEndRequest(id))
        self._forget()
        return result.verdict is Verdict.COMMITTED

    # -- inside -------------------------------------------------------------------------------------------------

    async def _credentials(self, age_s: float) -> Credentials:
        """Return what was read at most ``age_s`` ago."""
        async with self._reading:
            if self._known is None or self._clock.elapsed() - self._read_s >= age_s:
                change_count, self._read_s = self.change_count, self._clock.elapsed()
                read = await self._store.load_credentials()
                # What was revoked while this read must not come back.
                self._known = read if change_count == self.change_count else None
                return read
            return self._known

    def _forget(self) -> None:
        """Read anew next time: something has changed."""
        self._known = None
        self.change_count += 1


async def reset_account(store: Store, *, now: int) -> str:
    """Remove the account with its sessions, and return the path of a link by which it can be made again."""
    token = secrets.token_urlsafe(_SECRET_BYTES)
    await store.submit(ResetRequest(_digest(token), now, now + SETUP_LINK_MS))
    return setup_path(token)


def setup_path(token: str) -> str:
    """Return the path of a set-up link. Browsers send no fragment: the token is in no log on the way."""
    return f"/setup#{token}"


def _digest(secret: str) -> str:
    """Digests are of one length: comparing them tells nothing of a token's. Secrets of 256 bits need no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
