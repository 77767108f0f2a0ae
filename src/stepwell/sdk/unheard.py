"""What an attempt's lines leave out: what HTTP clients log of the SDK's own requests."""

from __future__ import annotations

import contextvars
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

IS_OURS: Final[contextvars.ContextVar[bool]] = contextvars.ContextVar("stepwell_is_ours", default=False)
"""Whether the SDK itself is at work in this context."""


@contextmanager
def unheard() -> Generator[None]:
    """Say that what is logged within is none of the user's code."""
    token = IS_OURS.set(True)
    try:
        yield
    finally:
        IS_OURS.reset(token)
