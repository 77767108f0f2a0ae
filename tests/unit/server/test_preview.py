"""What an event says, in one line."""

from __future__ import annotations

import pytest

from stepwell.limits import PREVIEW_CHARS_MAX
from stepwell.server.api.preview import preview


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'{"total":42,"user":"ada","is_new":true,"note":null}', 'total: 42, user: "ada", is_new: true, note: null'),
        (b'{"items":[1,2],"none":[],"user":{"id":1},"empty":{}}', "items: […], none: [], user: {…}, empty: {}"),
        (b'{"_inngest":{"fn_id":"f"},"id":1}', "id: 1"),
        (b"{}", ""),
        (b"null", ""),
    ],
)
def test_the_values_of_the_data_are_named_in_their_order(data: bytes, line: str) -> None:
    assert preview(b'{"data":' + data + b',"user":{}}', None) == line


def test_numbers_are_shown_as_they_were_sent() -> None:
    assert (
        preview(b'{"data":{"id":12345678901234567000}}', b'{"id":12345678901234567890}') == "id: 12345678901234567890"
    )


@pytest.mark.parametrize("extra", [0, 1])
def test_a_long_line_is_cut(extra: int) -> None:
    text = "x" * (PREVIEW_CHARS_MAX - len('a: ""') + extra)

    line = preview(b'{"data":{"a":"' + text.encode() + b'"}}', None)

    assert len(line) == PREVIEW_CHARS_MAX
    assert line.endswith("…") == (extra == 1)
