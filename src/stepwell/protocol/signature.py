"""Sign and verify calls, replies and API tokens (protocol 5). The time is an argument."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs

from stepwell.errors import ConfigError

SIGNATURE_AGE_S_MAX: Final = 300
_PREFIX: Final = re.compile(r"^signkey-\w+-")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")


def _key_text(key: str) -> str:
    return _PREFIX.sub("", key)


@lru_cache(maxsize=8)
def _keyed(key: str) -> hmac.HMAC:
    """Take in the key, which is half of the work for a small body. The few keys of a process are in memory anyway."""
    return hmac.new(_key_text(key).encode(), digestmod=hashlib.sha256)


def sign(key: str, body: bytes, now_s: int) -> str:
    """Return the value of ``X-Inngest-Signature`` for a body that is sent exactly so."""
    mac = _keyed(key).copy()
    mac.update(body)
    mac.update(str(now_s).encode())
    return f"t={now_s}&s={mac.hexdigest()}"


def verify(keys: Iterable[str], body: bytes, header: str | None, now_s: int) -> str | None:
    """Return the key that verifies the signature, or None when none does or it is over 5 minutes old or ahead.

    An empty or missing header verifies with no key.
    """
    fields = parse_qs(header or "")
    try:
        at, given = int(fields["t"][0]), fields["s"][0]
    except (KeyError, ValueError):
        return None
    if abs(now_s - at) > SIGNATURE_AGE_S_MAX:
        return None
    for key in keys:
        expected = sign(key, body, at).partition("&s=")[2]
        if hmac.compare_digest(expected.encode(), given.encode()):
            return key
    return None


def hashed_key(key: str) -> str:
    """Return the bearer form of a signing key: SHA-256 over its hex-decoded part, without a prefix (protocol 5.4).

    Raises ``ConfigError`` when the part behind the prefix isn't hex of an even length.
    """
    text = _key_text(key)
    if _HEX.fullmatch(text) is None:  # fromhex would pass over spaces and newlines, which signatures don't
        raise ConfigError(
            "the signing key must be an even number of hex digits, with or without a prefix such as signkey-prod-"
            " (make one: openssl rand -hex 32)"
        )
    return hashlib.sha256(bytes.fromhex(text)).hexdigest()


def bearer(key: str) -> str:
    """Return the ``Authorization`` value that an app sends: the hashed key, its prefix kept."""
    prefix = _PREFIX.match(key)
    return f"Bearer {prefix.group() if prefix else ''}{hashed_key(key)}"


def is_bearer_of(keys: Iterable[str], authorization: str | None) -> bool:
    """Tell whether an ``Authorization`` header carries one of the signing keys, hashed or plain (protocol 5.4)."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return False
    given = _key_text(token.strip()).encode()
    found = False
    for key in keys:
        for form in (hashed_key(key), _key_text(key)):
            found |= hmac.compare_digest(form.encode(), given)
    return found
