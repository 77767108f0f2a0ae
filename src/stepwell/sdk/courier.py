"""Carries lines to the server, beside the app's work: nothing here makes a call wait, or fail.

Lines are queued, up to a limit, and a thread of the app sends what has gathered: soon after the first of them, or as soon
as there are many. A server that doesn't answer, or doesn't take lines, costs the lines alone; how many were dropped is
said by a line of its own, for each run, when the server takes lines again.

The thread is started with the first line, anew after a fork or a long silence. At the end of the process it gets a moment for what is left.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from stepwell.limits import LOG_LINES_PER_REQUEST_MAX, MIB
from stepwell.protocol.logs import LOGS_PATH, Line, Lines
from stepwell.sdk.client import Client, Incoming, with_fallback_key

QUEUE_LINES_MAX: Final = 10_000
GATHER_S: Final = 0.2
"""How long a line waits for others."""
GATHER_LINES: Final = 100
SEND_BYTES_MAX: Final = 2 * MIB
IDLE_S: Final = 10.0
REPLY_TIMEOUT_S: Final = 5.0
PAUSE_S: Final = 60.0
"""How long nothing is sent to a server that refuses lines: another kind of server, or another key."""
BACKOFF_S: Final = (1.0, 5.0, 15.0)
"""The same for one that doesn't answer."""
LAST_S: Final = 1.0
"""What the end of the process waits for the last lines."""
_RUNS_NOTED_MAX: Final = 1_000
_WARNING: Final = 30
_REFUSING: Final = (400, 401, 403, 404, 405, 413, 501)

log: Final = logging.getLogger("stepwell")


class Courier:
    """The queue of one app."""

    def __init__(self, client: Client, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._client, self._elapsed = client, elapsed
        self._pid = 0
        self._begin()

    def _begin(self) -> None:
        """Begin with nothing: in a process that was forked the queue is another's."""
        self._changed = threading.Condition()
        self._waiting: deque[Line] = deque()
        self._dropped: dict[str, int] = {}
        self._paused_until = 0.0
        self._failures = 0
        self._is_leaving = False
        self._is_sending = False
        self._thread: threading.Thread | None = None

    def take(self, line: Line) -> None:
        """Queue a line. It never raises, and never waits for the network."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._begin()
        with self._changed:
            if len(self._waiting) >= QUEUE_LINES_MAX or self._elapsed() < self._paused_until:
                self._drop(line)
                return
            self._waiting.append(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stepwell-lines", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # the interpreter is ending
                    self._thread = None
                _LEAVING.add(self)
            if len(self._waiting) in (1, GATHER_LINES):
                self._changed.notify_all()

    def leave(self, within_s: float = LAST_S) -> bool:
        """Send what is left at once, and wait for it for a moment. False when there is still something."""
        deadline = self._elapsed() + within_s
        with self._changed:
            self._is_leaving = True
            self._changed.notify_all()
            while (self._waiting or self._is_sending) and self._thread is not None and self._pid == os.getpid():
                left_s = deadline - self._elapsed()
                if left_s <= 0 or not self._changed.wait(left_s):
                    break
            self._is_leaving = False
            return not (self._waiting or self._is_sending)

    def _drop(self, line: Line) -> None:
        if line.run_id in self._dropped or len(self._dropped) < _RUNS_NOTED_MAX:
            self._dropped[line.run_id] = self._dropped.get(line.run_id, 0) + 1

    def _run(self) -> None:
        while batch := self._gather():
            try:
                answer = self._send(batch)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with sending, the app goes on
                answer = Incoming(0, str(error).encode())
            with self._changed:
                self._is_sending = False
                self._note(answer, batch)
                self._changed.notify_all()

    def _gather(self) -> list[Line]:
        """Wait for lines, and a little for more; return as many as one request holds. None for long: the thread ends."""
        with self._changed:
            while not self._waiting:
                if not self._changed.wait(IDLE_S) and not self._waiting:
                    self._thread = None
                    return []
            until = self._elapsed() + GATHER_S
            while len(self._waiting) < GATHER_LINES and not self._is_leaving:
                left_s = until - self._elapsed()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            noted = list(self._dropped)[: LOG_LINES_PER_REQUEST_MAX // 2]
            batch = [_dropped_line(run_id, self._dropped.pop(run_id)) for run_id in noted]
            size = 0
            while self._waiting and len(batch) < LOG_LINES_PER_REQUEST_MAX and size < SEND_BYTES_MAX:
                line = self._waiting.popleft()
                size += len(line.message) + (0 if line.fields is msgspec.UNSET else len(bytes(line.fields)))
                batch.append(line)
            self._is_sending = True
        return batch

    def _send(self, batch: list[Line]) -> Incoming:
        body = msgspec.json.encode(Lines(batch))
        requests = self._client.api_requests("POST", LOGS_PATH, body=body, reply_timeout_s=REPLY_TIMEOUT_S)
        asking = with_fallback_key(requests)
        try:
            request = next(asking)
            while True:
                request = asking.send(self._client.fetch_fast_sync(request))
        except StopIteration as end:
            return end.value

    def _note(self, answer: Incoming, batch: list[Line]) -> None:
        """Go on, or rest for a while: lines that were sent already aren't sent again, since they may have arrived."""
        if answer.is_ok:
            self._failures = 0
            return
        for line in batch:
            self._drop(line)
        if answer.status in _REFUSING:
            pause_s = PAUSE_S
            self._waiting.clear()
            self._dropped.clear()  # a server that takes no lines needn't hear of them
        else:
            pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
            self._failures += 1
        self._paused_until = self._elapsed() + pause_s
        log.debug("lines of runs aren't sent for %d s: HTTP %d: %s", pause_s, answer.status, answer.text())


def _dropped_line(run_id: str, count: int) -> Line:
    message = f"{count} lines were dropped here: they came faster than the server took them, or it didn't answer"
    return Line(run_id, time.time_ns() // 1_000_000, message, _WARNING, "stepwell")


_LEAVING: Final[weakref.WeakSet[Courier]] = weakref.WeakSet()


@atexit.register
def _leave() -> None:
    deadline = time.monotonic() + LAST_S
    for courier in list(_LEAVING):
        with contextlib.suppress(Exception):
            courier.leave(max(0.0, deadline - time.monotonic()))
