"""How often somebody may try to log in: so many failures from one address, and so many from all, in a while.

It is counted by each replica for itself. A success is no attempt.
"""

from __future__ import annotations

import math
from collections import deque

from stepwell.engine.clock import Clock
from stepwell.limits import LOGINS_MAX, LOGINS_PER_ADDRESS_MAX, LOGINS_WINDOW_S
from stepwell.server.context import ApiError


class Attempts:
    """Counts failed attempts. There are never more than ``LOGINS_MAX`` of them in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: deque[tuple[float, str]] = deque()

    def begin(self, address: str) -> None:
        """Count an attempt as failed before it is looked at, so that many at once are no way round.

        Raises ``ApiError`` 429, which says when to come back.
        """
        now_s = self._clock.elapsed()
        while self._failed and self._failed[0][0] <= now_s - LOGINS_WINDOW_S:
            self._failed.popleft()
        own = [at for at, other in self._failed if other == address]
        over = own[-LOGINS_PER_ADDRESS_MAX:][:1] if len(own) >= LOGINS_PER_ADDRESS_MAX else []
        if len(self._failed) >= LOGINS_MAX:
            over.append(self._failed[0][0])
        if over:
            wait_s = max(1, math.ceil(max(over) + LOGINS_WINDOW_S - now_s))
            raise ApiError(
                429,
                "too_many_attempts",
                f"there were too many attempts: try again in {wait_s} seconds",
                headers={"Retry-After": str(wait_s)},
            )
        self._failed.append((now_s, address))

    def succeeded(self, address: str) -> None:
        """Take back an attempt that did not fail."""
        for attempt in reversed(self._failed):
            if attempt[1] == address:
                self._failed.remove(attempt)
                return
