"""Where new ids come from: ULIDs of given time and given chance, rising within this process."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from ulid import base32

_ENTROPY_BITS: Final = 80
_COUNTED_BITS: Final = 20  # of the entropy: what counts up within a millisecond
_COUNTED: Final = 1 << _COUNTED_BITS
_PAIRS: Final = [base32.encode_randomness(number.to_bytes(10, "big"))[-2:] for number in range(1 << 10)]


def ulid_text(at_ms: int, entropy: bytes) -> str:
    """Write the ULID of an instant and 10 bytes."""
    return base32.encode(at_ms.to_bytes(6, "big") + entropy)


class IdSource:
    """Makes ULIDs. Each is greater than the one before, so that pages of a list never miss a new row.

    ``chance`` needn't be a secret: ids open no door.
    """

    def __init__(self, now: Callable[[], int], chance: Random | None = None) -> None:
        self._now = now
        self.chance = chance or Random()
        self._at_ms = 0
        self._start = ""
        self._high = 0
        self._low = _COUNTED

    def __call__(self) -> str:
        at_ms = self._now()
        if at_ms > self._at_ms:
            self._at_ms = at_ms
            # The top bit stays free: counting up within one millisecond can't overflow.
            entropy = self.chance.getrandbits(_ENTROPY_BITS - 1)
            self._high, self._low = entropy >> _COUNTED_BITS, entropy % _COUNTED
            self._start = self._encode_start()
        else:
            self._low += 1
            if self._low >= _COUNTED:
                self._high, self._low = self._high + 1, 0
                self._start = self._encode_start()
        return self._start + _PAIRS[self._low >> 10] + _PAIRS[self._low & 1023]

    def _encode_start(self) -> str:
        """Return the characters that stay while ``_low`` counts up: all but the last four."""
        entropy = (self._high << _COUNTED_BITS).to_bytes(10, "big")
        return base32.encode(self._at_ms.to_bytes(6, "big") + entropy)[:-4]
