"""The other replicas, as the hub sees them: what it tells them, and the lines that they stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from stepwell.engine.core.model import LogLine
from stepwell.engine.engine import Engine
from stepwell.engine.ids import ulid_text
from stepwell.limits import STREAM_ITEMS_MAX
from stepwell.protocol.ids import RunId
from stepwell.store.found import LogFilter
from stepwell.store.news import News

_OVERLAP_MS: Final = 2_000  # lines get their ids before they are committed, and replicas' clocks differ
_NO_ENTROPY: Final = bytes(10)


class Lines(NamedTuple):
    """Lines that were read, and whether there are more."""

    items: Sequence[LogLine]
    has_more: bool


class Others(Protocol):
    """The other replicas."""

    @property
    def is_deaf(self) -> bool:
        """Tell whether there are some, and what they tell doesn't arrive here."""
        ...

    def tell(self, news: News) -> None:
        """Tell them something, if there are any."""
        ...

    def now(self) -> int:
        """Return the time by which lines get their ids, Unix ms."""
        ...

    async def read_lines(self, run_id: RunId | None, since: int) -> Lines:
        """Read lines of a run, or of all, that were stored since some time or shortly before.

        Raises ``StoreError``.
        """
        ...


class OtherReplicas:
    """Those that work on the same database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def is_deaf(self) -> bool:
        return self._engine.is_deaf

    def tell(self, news: News) -> None:
        self._engine.tell(news)

    def now(self) -> int:
        return self._engine.clock.now()

    async def read_lines(self, run_id: RunId | None, since: int) -> Lines:
        page = await self._engine.store.list_lines(
            LogFilter(
                environment=self._engine.environment,
                run_id=run_id,
                with_replayed=True,
                after=ulid_text(max(0, since - _OVERLAP_MS), _NO_ENTROPY),
                limit=STREAM_ITEMS_MAX,
            )
        )
        return Lines(page.lines, page.next is not None)
