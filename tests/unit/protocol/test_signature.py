"""Signatures and bearer tokens, by the protocol's own vectors (protocol 5)."""

from __future__ import annotations

import pytest

from stepwell.errors import ConfigError
from stepwell.protocol.signature import bearer, hashed_key, is_bearer_of, sign, verify

KEY = "signkey-prod-12345678"
OTHER = "signkey-test-abcdef01"
NOW = 1_700_000_000
HASH = "b2ed992186a5cb19f6668aade821f502c1d00970dfd0e35128d51bac4649916c"


@pytest.mark.parametrize("key", [KEY, "12345678", "signkey-branch-12345678"])
@pytest.mark.parametrize(
    ("body", "mac"),
    [
        (b'{"a":1,"b":"x"}', "dd235e13be80839922b79ac9363e479eed2bd0360312bb954c21f326311e31e9"),
        (b"", "189656184e486419febc1f6fd73e1c45bc8595c99633a32ebe1ea40ac8adf630"),
    ],
)
def test_the_vectors_of_the_protocol(key: str, body: bytes, mac: str) -> None:
    assert sign(key, body, NOW) == f"t={NOW}&s={mac}"
    assert verify([key], body, f"t={NOW}&s={mac}", NOW) == key


def test_the_key_that_verifies_is_told() -> None:
    header = sign(OTHER, b"body", NOW)

    assert verify([KEY, OTHER], b"body", header, NOW) == OTHER
    assert verify([KEY], b"body", header, NOW) is None
    assert verify([], b"body", header, NOW) is None


@pytest.mark.parametrize(("age_s", "is_good"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_a_signature_holds_for_five_minutes(age_s: int, is_good: bool) -> None:
    header = sign(KEY, b"body", NOW)

    assert (verify([KEY], b"body", header, NOW + age_s) == KEY) is is_good


def test_another_body_or_time_does_not_verify() -> None:
    header = sign(KEY, b"body", NOW)

    assert verify([KEY], b"other", header, NOW) is None
    assert verify([KEY], b"body", header.replace(str(NOW), str(NOW + 1)), NOW) is None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=&s=",
        "t=1700000000",
        "s=abc",
        "t=x&s=abc",
        "t=1700000000&s=é",
        "t=1700000000;s=abc",
        "&&&=",
        "t=1e9&s=a",
        "t=" + "9" * 5000 + "&s=a",
        "t=٣&s=a",
    ],
)
def test_a_malformed_header_verifies_nothing(header: str | None) -> None:
    assert verify([KEY], b"body", header, NOW) is None


def test_the_hash_of_a_key_is_over_its_bytes() -> None:
    assert hashed_key(KEY) == HASH
    assert hashed_key("12345678") == HASH
    assert bearer(KEY) == f"Bearer signkey-prod-{HASH}"
    assert bearer("12345678") == f"Bearer {HASH}"


@pytest.mark.parametrize("key", ["signkey-prod-123", "signkey-prod-xyz0", "é", "signkey-prod-12 34", "12\n34"])
def test_a_key_that_is_not_hex_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        hashed_key(key)


@pytest.mark.parametrize(
    ("authorization", "is_good"),
    [
        (f"Bearer signkey-prod-{HASH}", True),  # JavaScript, Go
        (f"Bearer {HASH}", True),  # Python
        (f"bearer  {HASH} ", True),
        ("Bearer signkey-prod-12345678", True),  # the plain key
        (f"Bearer {HASH[:-1]}", False),
        (f"Basic {HASH}", False),
        ("Bearer", False),
        ("Bearer undefined", False),
        ("Bearer é", False),
        ("", False),
        (None, False),
    ],
)
def test_bearer_tokens(authorization: str | None, is_good: bool) -> None:
    assert is_bearer_of([OTHER, KEY], authorization) is is_good
    assert is_bearer_of([OTHER], authorization) is False
    assert is_bearer_of([], authorization) is False
