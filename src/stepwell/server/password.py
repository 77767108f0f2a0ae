"""Passwords, hashed so that each guess costs time and memory: scrypt with a salt of its own (RFC 7914)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from typing import Final

_COST: Final = (2**14, 8, 5)  # n, r, p: 16 MiB and some 100 ms
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024


def hash_password(password: str) -> str:
    """Return what is kept of a password. It takes a while: call it in a thread."""
    salt = secrets.token_bytes(_SALT_BYTES)
    n, r, p = _COST
    return f"scrypt${n}${r}${p}${salt.hex()}${_scrypt(password, salt, n, r, p).hex()}"


def is_password(password: str, kept: str) -> bool:
    """Tell whether a password is the one that was hashed, in a time that says nothing of it. Call it in a thread."""
    _, n, r, p, salt, expected = kept.split("$")
    found = _scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, bytes.fromhex(expected))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # Keyboards differ in how they compose an accented letter.
    text = unicodedata.normalize("NFC", password).encode()
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY_BYTES_MAX, dklen=_HASH_BYTES)
