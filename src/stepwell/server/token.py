"""Tokens for one run (protocol 7.4): JWT, HS256, good for an hour of real time, whatever the server's clock says."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

import msgspec

from stepwell.limits import ENDPOINT_TOKEN_S
from stepwell.store.interface import Store
from stepwell.store.request import SettingRequest

_SETTING: Final = "token_secret"
_SECRET_BYTES: Final = 32
_HEADER: Final = {"alg": "HS256", "typ": "JWT"}


class Claims(msgspec.Struct, frozen=True):
    """What a token says: for what it is good, in which environment, for which run, until when (Unix s)."""

    aud: str
    env: str
    sub: str
    exp: int


_decode_claims: Final = msgspec.json.Decoder(Claims).decode


async def token_secret(store: Store) -> bytes:
    """Return the installation's secret, which is made when it is first asked for; all replicas have the same."""
    found = await store.load_setting(_SETTING)
    if found is None:
        await store.submit(SettingRequest(_SETTING, secrets.token_hex(_SECRET_BYTES), is_kept=True))
        found = await store.load_setting(_SETTING)
    assert found is not None, "a setting that was kept is there"
    return bytes.fromhex(found)


def make_token(secret: bytes, audience: str, environment: str, run_id: str, *, now_s: int) -> str:
    """Make a token for a run."""
    claims = Claims(audience, environment, run_id, now_s + ENDPOINT_TOKEN_S)
    signed = f"{_part(msgspec.json.encode(_HEADER))}.{_part(msgspec.json.encode(claims))}"
    return f"{signed}.{_signature(secret, signed)}"


def is_token_for(token: str, secret: bytes, audience: str, environment: str, run_id: str, *, now_s: int) -> bool:
    """Tell whether a token is ours, not over, and for this run. Our own algorithm alone counts, whatever it names."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_signature(secret, signed).encode(), signature.encode("utf-8", "replace")):
        return False
    payload = signed.partition(".")[2]
    try:
        claims = _decode_claims(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        return False
    return (claims.aud, claims.env, claims.sub) == (audience, environment, run_id) and now_s < claims.exp


def _signature(secret: bytes, signed: str) -> str:
    return _part(hmac.digest(secret, signed.encode("utf-8", "replace"), hashlib.sha256))


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
