"""Where new ids come from: ULIDs of given time and given chance, rising within this process."""

from __future__ import annotations

from collections.abc import Callable
from random import Random, SystemRandom
from typing import Final

from ulid import base32

_ENTROPY_BITS: Final = 80


def ulid_text(at_ms: int, entropy: bytes) -> str:
    """Write the ULID of an instant and 10 bytes."""
    return base32.encode(at_ms.to_bytes(6, "big") + entropy)


class IdSource:
    """Makes ULIDs. Each is greater than the one before, so that pages of a list never miss a new row."""

    def __init__(self, now: Callable[[], int], chance: Random | None = None) -> None:
        self._now = now
        self.chance = chance or SystemRandom()
        self._at_ms = 0
        self._time_text = ""
        self._entropy = 0

    def __call__(self) -> str:
        at_ms = self._now()
        if at_ms > self._at_ms:
            self._at_ms = at_ms
            self._time_text = base32.encode_timestamp(at_ms.to_bytes(6, "big"))
            # The top bit stays free: counting up within one millisecond can't overflow.
            self._entropy = self.chance.getrandbits(_ENTROPY_BITS - 1)
        else:
            self._entropy += 1
        return self._time_text + base32.encode_randomness(self._entropy.to_bytes(10, "big"))
