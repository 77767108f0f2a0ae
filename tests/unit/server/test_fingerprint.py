"""Which errors are the same, and percentiles."""

from __future__ import annotations

import pytest

from stepwell.server.api.fingerprint import fingerprint
from stepwell.server.api.percentile import percentile
from stepwell.server.failure import Failure, error_line


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no answer within 10 s", "no answer within 2.5 s"),
        ("order 6f9619ff-8b86-d011-b42d-00c04fc964ff", "order 0e37df36-f698-11e6-8dd4-cb9ced3df976"),
        ("run 01KAT3Z6W00000000000000000 is gone", "run 01M8K3VQBX2BYR6G94TP1NH9EP is gone"),
        ("object at 0x7f8a3c2e", "object at 0x11aa22bb33"),
        ("a\n  b", "a b"),
        ("x" * 500 + "tail", "x" * 500 + "other"),
    ],
)
def test_errors_that_differ_in_ids_and_numbers_are_the_same(one: str, other: str) -> None:
    assert fingerprint(Failure("E", one)) == fingerprint(Failure("E", other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Failure("E", "no user"), Failure("E", "no order")),
        (Failure("E", "no user"), Failure("F", "no user")),
        (Failure("E", "feedface is a word"), Failure("E", "deadbeef is a word")),
    ],
)
def test_errors_that_differ_in_words_are_not(one: Failure, other: Failure) -> None:
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("numbers", "share", "expected"),
    [
        ([], 0.5, None),
        ([7], 0.95, 7),
        ([1, 2], 0.5, 1),
        ([1, 2, 3], 0.5, 2),
        (range(1, 101), 0.95, 95),
        (range(1, 101), 1.0, 100),
        (range(1, 101), 0.0, 1),
    ],
)
def test_a_percentile_is_the_nearest_rank(numbers: list[int], share: float, expected: int | None) -> None:
    assert percentile(numbers, share) == expected


@pytest.mark.parametrize(
    ("stored", "line"),
    [
        (b'{"message":"a\\n b","name":"E"}', "E: a b"),
        (b'{"error":{"message":"a","name":"E"}}', "E: a"),
        (b'{"message":"a \\"q\\" b","name":"E","stack":"cut of', 'E: a "q" b'),
        (b'{"cause":null,"message":"cut of', "Error: cut of"),
        (b'"plain"', 'Error: "plain"'),
        (b"12", "Error: 12"),
        (b"not json", "not json"),
    ],
)
def test_an_error_is_shown_as_one_line(stored: bytes, line: str) -> None:
    assert error_line(stored) == line
