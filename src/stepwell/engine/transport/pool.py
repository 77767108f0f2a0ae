"""The connections to all apps: which are idle, and when each must end.

There is no timer per call. Each connection has one instant, ``due_at``, at which it is ended: while a request is under
way that is the end of its time, afterwards the end of idling. One timer serves them all, set to the earliest; a request
that ends in time, as nearly all do, costs it nothing.

There is no bound on connections here: as many are open as there are requests at once, and what bounds those is the
number of call slots.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from typing import Final

from stepwell.engine.transport.connection import Connection, Disconnected, Response
from stepwell.engine.transport.dial import Dialer, Resolve, system_resolve
from stepwell.engine.transport.target import Origin

_SWEEP_S_MIN: Final = 0.05
"""Between two looks through all connections: how late a time-out may be."""


class Pool:
    """Kept-alive connections, used again last in, first out, so that those not needed get old.

    ``time`` is in seconds, from any start; a test's may stand still, and then ``sweep`` is called by hand.
    """

    def __init__(
        self,
        *,
        idle_s: float,
        connect_timeout_s: float,
        body_bytes_max: int,
        keeps_fields: bool = False,
        tls: ssl.SSLContext | None = None,
        time: Callable[[], float] | None = None,
        resolve: Resolve = system_resolve,
        may_dial: Callable[[str], bool] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle_s, self._body_bytes_max, self._keeps_fields = idle_s, body_bytes_max, keeps_fields
        self.time = time or self._loop.time
        self._dialer = Dialer(self._make, timeout_s=connect_timeout_s, tls=tls, resolve=resolve, may_dial=may_dial)
        self._connections: set[Connection] = set()
        self._idle: dict[Origin, list[Connection]] = {}
        self._sweep_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._stopped: asyncio.Event | None = None

    @property
    def idle_count(self) -> int:
        """Return how many connections wait to be used again."""
        return sum(connection.is_open for idle in self._idle.values() for connection in idle)

    async def exchange(self, origin: Origin, head: bytes, body: bytes, *, deadline: float) -> Response:
        """Send a request and return its response.

        A request is sent once. When a kept connection breaks before anything came back, the app may have done the work
        all the same: that is an error, too, and rare because idle connections are dropped before apps drop them.

        Raises ``TimeoutError`` at the deadline, a time of this pool, and what ``Dialer.dial`` and ``Connection.send``
        raise. Whoever is cancelled closes the connection.
        """
        connection = self._take(origin) or await self._dial(origin)
        connection.due_at = deadline
        if deadline < self._sweep_at:
            self._sweep_by(deadline)
        try:
            response = await connection.send(head, body)
        except BaseException:
            connection.abort()
            raise
        if connection.is_open:
            self._put_back(origin, connection)
        return response

    async def stop(self) -> None:
        """Close all connections; requests under way end with ``Disconnected``, if need be after they have connected."""
        self._stopped = asyncio.Event()
        if self._timer is not None:
            self._timer.cancel()
        self._idle.clear()
        for connection in list(self._connections):
            connection.end(Disconnected("the server stops"))
        if self._connections:
            await self._stopped.wait()

    def sweep(self) -> None:
        """End what is due, and set the timer for the next."""
        self._timer, self._sweep_at = None, math.inf
        now = self.time()
        for connection in list(self._connections):
            if connection.due_at <= now:
                connection.end(TimeoutError())
        for origin, idle in list(self._idle.items()):
            idle[:] = [connection for connection in idle if connection.is_open]
            if not idle:
                del self._idle[origin]
        self._dialer.forget()
        if self._connections:
            self._sweep_by(min(connection.due_at for connection in self._connections))

    def _sweep_by(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(_SWEEP_S_MIN, at - self.time())
        self._sweep_at = self.time() + delay_s
        self._timer = self._loop.call_later(delay_s, self.sweep)

    # -- connections --------------------------------------------------------------------------------------------

    def _take(self, origin: Origin) -> Connection | None:
        """Take an idle connection. One that has closed is passed over, and one that is due: the timer may be late."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_open:
                if connection.due_at > self.time():
                    return connection
                connection.abort()
        return None

    def _put_back(self, origin: Origin, connection: Connection) -> None:
        connection.due_at = due_at = self.time() + self._idle_s
        if self._idle_s <= 0:
            connection.abort()
            return
        idle = self._idle.get(origin)
        if idle is None:
            idle = self._idle[origin] = []
        idle.append(connection)
        if due_at < self._sweep_at:
            self._sweep_by(due_at)

    async def _dial(self, origin: Origin) -> Connection:
        if self._stopped is not None:
            raise Disconnected("the server stops")
        connection = await self._dialer.dial(origin)
        if self._stopped is not None:  # while it was dialled
            connection.abort()
            raise Disconnected("the server stops")
        if not connection.is_open:
            raise Disconnected("it closed the connection before it answered")
        self._connections.add(connection)
        return connection

    def _make(self) -> Connection:
        return Connection(self._loop, self._lost, body_bytes_max=self._body_bytes_max, keeps_fields=self._keeps_fields)

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._stopped is not None and not self._connections:
            self._stopped.set()
