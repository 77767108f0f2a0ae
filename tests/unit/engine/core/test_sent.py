"""Which results of steps are the ids of events that they sent."""

from __future__ import annotations

import pytest

from stepwell.engine.core.sent import first_sent, sent_ids

A, B = "01M8K3VQBX2BYR6G94TP1NH9EP", "01M8K3VQBX2BYR6G94TP1NH9EQ"


@pytest.mark.parametrize(
    ("memo", "ids"),
    [
        (f'{{"data":["{A}"]}}', [A]),
        (f'{{"data":["{A}","{B}"]}}', [A, B]),
        (f'{{"data":{{"ids":["{A}","{B}"]}}}}', [A, B]),
        (f'{{"data":{{"ids":["{A}"],"status":200}}}}', [A]),
        ('{"data":{"ids":[]}}', []),
        ('{"data":["a"]}', []),
        ('{"data":"01M8K3VQBX2BYR6G94TP1NH9EP"}', []),
        (f'{{"data":["{A}x"]}}', []),
        ('{"error":{"message":"no"}}', []),
        ("null", []),
    ],
)
def test_ids_of_sent_events_are_known_by_their_form(memo: str, ids: list[str]) -> None:
    assert sent_ids(memo.encode()) == ids
    assert first_sent(memo.encode()) == (ids[0] if ids else None)


def test_what_only_begins_like_ids_is_none() -> None:
    memo = f'{{"data":["{A}","b"]}}'.encode()

    assert sent_ids(memo) == []
    assert first_sent(memo) == A
