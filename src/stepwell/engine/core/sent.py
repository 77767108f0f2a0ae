"""Steps that send events: their whole result is the ids that the server has given these."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from stepwell.protocol.ids import EventId

_FIRST: Final = re.compile(rb'\{"data":(?:\{"ids":)?\["([0-7][0-9A-HJKMNP-TV-Z]{25})"[,\]]')
_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")


class _Sent(msgspec.Struct, frozen=True):
    ids: list[str]


class _Memo(msgspec.Struct, frozen=True):
    data: list[str] | _Sent


def first_sent(memo: bytes) -> EventId | None:
    """Return the first id of what may be the ids of sent events, in the form of our SDK or of the others."""
    found = _FIRST.match(memo)
    return EventId(found[1].decode()) if found is not None else None


def sent_ids(memo: bytes) -> list[str]:
    """Return the ids that may be those of sent events; none where a result is something else."""
    try:
        data = msgspec.json.decode(memo, type=_Memo).data
    except msgspec.DecodeError:
        return []
    ids = data if isinstance(data, list) else data.ids
    return ids if all(map(_ULID.match, ids)) else []
