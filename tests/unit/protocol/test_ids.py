"""Step ids, seeds of event ids, and names made into UUIDs (protocol 2.2, 4.5)."""

from __future__ import annotations

import base64
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.protocol.ids import COMPLETE, named_uuid, parse_event_id_seed, seeded_entropy, step_hash


@pytest.mark.parametrize(
    ("name", "index", "hashed"),
    [
        ("a", 0, "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
        ("a", 1, "de89bfaf06245091a7873290a793604612302247"),
        ("complete", 0, "0737c22d3bfae812339732d14d8c7dbd6dc4e09c"),
        ("é", 0, "bf15be717ac1b080b4f1c456692825891ff5073d"),
    ],
)
def test_a_step_id_is_the_hash_of_name_and_index(name: str, index: int, hashed: str) -> None:
    assert step_hash(name, index) == hashed


def test_a_run_complete_has_its_own_id() -> None:
    assert step_hash("complete") == COMPLETE


SEED = base64.b64encode(bytes(range(10))).decode()


def test_a_seed_is_a_time_and_ten_bytes() -> None:
    assert parse_event_id_seed(f"1763985600000,{SEED}") == (1_763_985_600_000, bytes(range(10)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        SEED,
        f",{SEED}",
        f"x,{SEED}",
        f"1.5,{SEED}",
        f"-1,{SEED}",
        f"{2**48},{SEED}",
        "1763985600000",
        "1763985600000,",
        "1763985600000,AAAA",
        "1763985600000,not base64!",
        f"1763985600000,{SEED}AAAA",
        f"1763985600000,{SEED},1",
    ],
)
def test_a_malformed_seed_is_none(text: str) -> None:
    assert parse_event_id_seed(text) is None


@pytest.mark.parametrize(
    ("entropy", "number", "seeded"),
    [
        ("00000000000000000000", 1, "00000000000000000001"),
        ("ffffffffffff00000000", 255, "ffffffffffff000000ff"),
        ("000000000000ffffffff", 1, "00000000000000000000"),
        ("0102030405060708090a", 5000, "01020304050607081c92"),
    ],
)
def test_the_number_of_an_event_is_added_to_the_last_four_bytes(entropy: str, number: int, seeded: str) -> None:
    assert seeded_entropy(bytes.fromhex(entropy), number).hex() == seeded


@given(st.binary(min_size=10, max_size=10))
def test_the_events_of_one_request_have_different_ids(entropy: bytes) -> None:
    assert len({seeded_entropy(entropy, number) for number in range(1, 101)}) == 100


def test_the_same_names_give_the_same_uuid_and_no_others_do() -> None:
    assert named_uuid("app", "dev", "a") == named_uuid("app", "dev", "a")
    assert str(uuid.UUID(named_uuid("a"))) == named_uuid("a")
    assert len({named_uuid("a", "bc"), named_uuid("ab", "c"), named_uuid("abc"), named_uuid("a", "b", "c")}) == 4
