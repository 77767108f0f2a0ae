"""Uvicorn's HTTP, with bounds for what comes before anybody is asked who they are: the heads of requests.

By itself it keeps headers and addresses of any size in memory, and waits for the rest of a head for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stepwell.limits import REQUEST_HEAD_BYTES_MAX, REQUEST_HEAD_S


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._is_in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head, self._head_bytes = False, 0
        self._wait_no_more()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > REQUEST_HEAD_BYTES_MAX:
            self.send_400_response(f"The address and headers have more than {REQUEST_HEAD_BYTES_MAX} bytes.")
        else:
            self._wait_for_head()

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(REQUEST_HEAD_S, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if self.cycle and not self.cycle.response_complete:
            self._wait_for_head()  # what was asked before is still being answered
        else:
            self.transport.close()

    def _wait_no_more(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
