"""Opens connections: looks up names, tries each address that may be dialled, and checks certificates."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias

from stepwell.engine.transport.connection import Connection
from stepwell.engine.transport.target import Origin

_ADDRESSES_KEPT_S: Final = 10
"""For how long a name isn't looked up again: a burst of calls to a new app opens many connections at once."""

_PROBES: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""When a silent connection is probed, in seconds: a call may take hours, and an app whose machine is gone says
nothing. It is noticed after two minutes; and what lies between sees that the connection is in use."""


class ConnectTimeout(TimeoutError):
    """No connection came about in time."""


class AddressRefused(Exception):
    """All addresses of a host are such as may not be dialled."""


Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Looks up a name: host and port to addresses. Raises ``OSError`` for one that isn't known."""


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Look up a name as this machine does."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class _Known:
    """The addresses of a name. One that fails is left out until the name is looked up again."""

    def __init__(self, addresses: list[str], until: float) -> None:
        self.addresses, self.until = addresses, until


class Dialer:
    """Opens connections for one pool.

    ``may_dial`` is asked of what a name was found to be, and connections go to these very addresses: what the name
    is a moment later doesn't matter.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        timeout_s: float,
        tls: ssl.SSLContext | None,
        resolve: Resolve = system_resolve,
        may_dial: Callable[[str], bool] | None = None,
    ) -> None:
        self._make, self._timeout_s, self._tls = make, timeout_s, tls
        self._resolve, self._may_dial = resolve, may_dial
        self._names: dict[Origin, asyncio.Task[_Known]] = {}
        """Look-ups under way, and those that brought something."""

    async def dial(self, origin: Origin) -> Connection:
        """Connect, TLS included, trying one address after the other.

        Raises ``ConnectTimeout``, ``AddressRefused``, ``OSError`` (refused, unknown name, untrusted certificate) or
        ``ValueError`` (a name that can't be one).
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                known = await self._look_up(origin)
                addresses = list(known.addresses)
                # The next connection begins with the next address, so that an app of many addresses shares the calls.
                known.addresses.append(known.addresses.pop(0))
                return await self._first_of(origin, addresses, known)
        except TimeoutError as error:
            raise ConnectTimeout from error

    def forget(self) -> None:
        """Drop the addresses that are too old to be used: called now and then, so that they don't pile up."""
        for origin, task in list(self._names.items()):
            if _is_stale(task):
                del self._names[origin]

    async def _first_of(self, origin: Origin, addresses: Sequence[str], known: _Known) -> Connection:
        errors: list[OSError] = []
        for address in addresses:
            try:
                # Each has its share of the time: one that swallows packets must not keep us from the next.
                async with asyncio.timeout(self._timeout_s / len(addresses)):
                    return await self._connect(origin, address)
            except OSError as error:  # time-outs are among them
                errors.append(error)
                with contextlib.suppress(ValueError):
                    known.addresses.remove(address)
        # Of ::1 and 127.0.0.1 one may not exist here; that the other refuses says more.
        raise next((error for error in errors if isinstance(error, ConnectionRefusedError)), errors[-1])

    async def _connect(self, origin: Origin, address: str) -> Connection:
        context = self._tls_context() if origin.scheme == "https" else None
        name = origin.host.partition("%")[0].rstrip(".") if context is not None else None
        transport, connection = await asyncio.get_running_loop().create_connection(
            self._make, address, origin.port, ssl=context, server_hostname=name
        )
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _PROBES:
            if hasattr(socket, option):  # not every system has them by these names
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return connection

    async def _look_up(self, origin: Origin) -> _Known:
        """Return the addresses of a name, at least one. Those who ask at the same time share one look-up."""
        task = self._names.get(origin)
        if task is None or _is_stale(task):
            task = self._names[origin] = asyncio.get_running_loop().create_task(self._find(origin))
            task.add_done_callback(lambda task: self._looked_up(origin, task))
        return await asyncio.shield(task)

    async def _find(self, origin: Origin) -> _Known:
        try:
            ip_address(origin.host)
            found: Sequence[str] = [origin.host]
        except ValueError:
            found = await self._resolve(origin.host, origin.port)
        addresses = list(dict.fromkeys(found))
        if self._may_dial is not None:
            addresses = [address for address in addresses if self._may_dial(address)]
            if not addresses:
                raise AddressRefused(origin.host)
        return _Known(addresses, asyncio.get_running_loop().time() + _ADDRESSES_KEPT_S)

    def _looked_up(self, origin: Origin, task: asyncio.Task[_Known]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._names.get(origin) is task:
            del self._names[origin]

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()  # trusts whom the machine trusts, or SSL_CERT_FILE
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _is_stale(task: asyncio.Task[_Known]) -> bool:
    if not task.done():
        return False
    known = task.result()
    return not known.addresses or known.until <= asyncio.get_running_loop().time()
