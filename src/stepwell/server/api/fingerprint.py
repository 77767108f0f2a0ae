"""Which errors are the same: what differs from run to run is taken out of their messages."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from stepwell.server.failure import Failure

_CHARS_READ_MAX: Final = 500
_DIFFERENT: Final = re.compile(
    r"""
    [0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}   # UUIDs
    | \b[0-7][0-9A-HJKMNP-TV-Z]{25}\b             # ULIDs
    | \b(?:0x)?(?=[a-f]*[0-9])[0-9a-f]{8,}\b      # hashes and addresses
    | \d+(?:[.,:]\d+)*                            # numbers, times, versions
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def fingerprint(error: Failure) -> str:
    """Return the same short text for errors of one name whose messages differ in ids and numbers alone."""
    message = _DIFFERENT.sub("#", " ".join(error.message[:_CHARS_READ_MAX].split()))
    return hashlib.sha256(f"{error.name}\0{message}".encode("utf-8", "replace")).hexdigest()[:16]
