"""Carries lines to the server, beside the app's work: nothing here makes a call wait, or fail.

Lines are queued, up to a limit, and a thread of the app sends what has gathered: soon after the first of them, or as soon
as there are many. A server that doesn't answer, or doesn't take lines, costs the lines alone; how many were dropped is
said by a line of its own, for each run, when the server takes lines again.

While calls are at steps, the thread looks at them (``progress.py``) a few times a second, and tells the server of those
that take longer.

The thread is started with the first line or step, anew after a fork or a long silence. At the end of the process it gets
a moment for what is left.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from stepwell.limits import LOG_BEGUN_PER_REQUEST_MAX, LOG_LINES_PER_REQUEST_MAX, MIB
from stepwell.protocol.logs import LOGS_PATH, Begun, Line, Lines
from stepwell.sdk.client import Client, Incoming, with_fallback_key
from stepwell.sdk.current import RunningStep
from stepwell.sdk.progress import Progress

QUEUE_LINES_MAX: Final = 10_000
QUEUE_BYTES_MAX: Final = 16 * MIB
GATHER_S: Final = 0.2
"""How long a line waits for others."""
GATHER_LINES: Final = 100
SEND_BYTES_MAX: Final = 2 * MIB
LOOK_S: Final = 0.2
"""How long it doesn't look at steps that run."""
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
TELL_TRIES_MAX: Final = 10
"""How often it is tried to tell of dropped lines while there are no others to send."""
_REFUSING: Final = (401, 403, 404, 405, 501)

log: Final = logging.getLogger("stepwell")


class _Batch(NamedTuple):
    """What one request tells: how many lines of which runs were dropped, lines, and steps that take longer."""

    dropped: dict[str, int]
    lines: list[Line]
    slow: dict[Progress, tuple[RunningStep, Begun]]


class Courier:
    """The queue of one app."""

    def __init__(self, client: Client, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._client, self.elapsed = client, elapsed
        self._pid = 0
        self._begin()

    def _begin(self) -> None:
        """Begin with nothing: in a process that was forked the queue is another's."""
        self._changed = threading.Condition()
        self._waiting: deque[Line] = deque()
        self._waiting_bytes = 0
        self._watched: set[Progress] = set()
        self._dropped: dict[str, int] = {}
        self._paused_until = 0.0
        self._failures = 0
        self._is_leaving = False
        self._is_sending = False
        self._is_idle = False
        """The thread waits for the first of anything."""
        self._thread: threading.Thread | None = None

    def take(self, line: Line) -> None:
        """Queue a line. It never raises, and never waits for the network."""
        self._come_here()
        size = _bytes_of(line)
        with self._changed:
            is_full = len(self._waiting) >= QUEUE_LINES_MAX or self._waiting_bytes + size > QUEUE_BYTES_MAX
            if is_full or self.elapsed() < self._paused_until:
                self._drop(line.run_id)
                return
            self._waiting.append(line)
            self._waiting_bytes += size
            self._start()
            if len(self._waiting) in (1, GATHER_LINES):
                self._changed.notify_all()

    def watch(self, progress: Progress) -> None:
        """Tell the server of the steps of a call that take longer, until ``forget``."""
        self._come_here()
        with self._changed:
            self._watched.add(progress)
            self._start()
            if self._is_idle:
                self._is_idle = False
                self._changed.notify_all()

    def forget(self, progress: Progress) -> None:
        """Look at a call no more."""
        self._come_here()
        with self._changed:
            self._watched.discard(progress)

    def _come_here(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._begin()

    def _start(self) -> None:
        if self._thread is None:
            # In a context of its own: what sending writes is no line of the attempt that happened to be the first.
            outside = contextvars.Context()
            self._thread = threading.Thread(target=outside.run, args=(self._run,), name="stepwell-lines", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is ending
                self._thread = None
            _LEAVING.add(self)

    def leave(self, within_s: float = LAST_S) -> bool:
        """Send what is left at once, and wait for it for a moment. False when there is still something."""
        if self._pid != os.getpid():
            return True  # what waits is another process's, which may have held the lock when this one was made
        deadline = self.elapsed() + within_s
        with self._changed:
            self._is_leaving = True
            self._changed.notify_all()
            while (self._waiting or self._is_sending) and self._thread is not None:
                left_s = deadline - self.elapsed()
                if left_s <= 0 or not self._changed.wait(left_s):
                    break
            self._is_leaving = False
            return not (self._waiting or self._is_sending)

    def _drop(self, run_id: str, count: int = 1) -> None:
        if run_id in self._dropped or len(self._dropped) < _RUNS_NOTED_MAX:
            self._dropped[run_id] = self._dropped.get(run_id, 0) + count

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

    def _gather(self) -> _Batch | None:
        """Wait for lines, and a little for more, or for a slow step; return as much as one request holds.

        None when nothing comes for long: the thread ends.
        """
        with self._changed:
            while not (self._waiting or self._slow() or self._has_to_tell()):
                self._is_idle = not (self._watched or self._tells_again)
                has_come = self._changed.wait(IDLE_S if self._is_idle else LOOK_S)
                if self._is_idle and not has_come:
                    self._thread = None
                    return None
            self._is_idle = False
            until = self.elapsed() + GATHER_S
            while 0 < len(self._waiting) < GATHER_LINES and not self._is_leaving:
                left_s = until - self.elapsed()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            dropped = {id: self._dropped.pop(id) for id in list(self._dropped)[: LOG_LINES_PER_REQUEST_MAX // 2]}
            batch = _Batch(dropped, self._take_lines(LOG_LINES_PER_REQUEST_MAX - len(dropped)), self._slow())
            self._is_sending = True
        return batch

    @property
    def _tells_again(self) -> bool:
        return bool(self._dropped) and self._failures < TELL_TRIES_MAX

    def _has_to_tell(self) -> bool:
        """Tell whether lines were dropped of which the server might hear now, though there are no others."""
        return self._tells_again and self.elapsed() >= self._paused_until

    def _take_lines(self, count_max: int) -> list[Line]:
        lines: list[Line] = []
        size = 0
        while self._waiting and len(lines) < count_max and size < SEND_BYTES_MAX:
            line = self._waiting.popleft()
            size += _bytes_of(line)
            lines.append(line)
        self._waiting_bytes -= size
        return lines

    def _slow(self) -> dict[Progress, tuple[RunningStep, Begun]]:
        """Return the steps that the server is to be told of."""
        now = self.elapsed()
        if not self._watched or now < self._paused_until:
            return {}
        found = ((progress, slow) for progress in self._watched if (slow := progress.slow(now)) is not None)
        return dict(islice(found, LOG_BEGUN_PER_REQUEST_MAX))

    def _send(self, batch: _Batch) -> Incoming:
        lines = [*map(_dropped_line, batch.dropped.items()), *batch.lines]
        body = msgspec.json.encode(Lines(lines, [begun for _, begun in batch.slow.values()]))
        requests = self._client.api_requests("POST", LOGS_PATH, body=body, reply_timeout_s=REPLY_TIMEOUT_S)
        asking = with_fallback_key(requests)
        try:
            request = next(asking)
            while True:
                request = asking.send(self._client.fetch_fast_sync(request))
        except StopIteration as end:
            return end.value

    def _note(self, answer: Incoming, batch: _Batch) -> None:
        """Go on, or rest for a while: lines that were sent already aren't sent again, since they may have arrived.

        Of a step that still runs then the server is told again.
        """
        if answer.is_ok:
            self._failures = 0
            for progress, (step, _) in batch.slow.items():
                progress.told(step)
            return
        for run_id, count in batch.dropped.items():
            self._drop(run_id, count)
        for line in batch.lines:
            self._drop(line.run_id)
        if answer.status in _REFUSING:
            pause_s = PAUSE_S
            self._waiting.clear()
            self._waiting_bytes = 0
            self._dropped.clear()  # a server that takes no lines needn't hear of them
        else:
            pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
            self._failures += 1
        self._paused_until = self.elapsed() + pause_s
        log.debug("lines of runs aren't sent for %d s: HTTP %d: %s", pause_s, answer.status, answer.text())


def _bytes_of(line: Line) -> int:
    return len(line.message) + (0 if line.fields is msgspec.UNSET else len(bytes(line.fields)))


def _dropped_line(dropped: tuple[str, int]) -> Line:
    run_id, count = dropped
    message = f"{count} lines were dropped here: they came faster than the server took them, or it didn't answer"
    return Line(run_id, time.time_ns() // 1_000_000, message, _WARNING, "stepwell")


_LEAVING: Final[weakref.WeakSet[Courier]] = weakref.WeakSet()


@atexit.register
def _leave() -> None:
    deadline = time.monotonic() + LAST_S
    for courier in list(_LEAVING):
        with contextlib.suppress(Exception):
            courier.leave(max(0.0, deadline - time.monotonic()))
