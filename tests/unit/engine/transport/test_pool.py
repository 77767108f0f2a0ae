"""Which connections are kept and used again, for how long, and how requests end before their time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stepwell.engine.transport import dial
from stepwell.engine.transport.connection import Connection, Disconnected
from stepwell.engine.transport.dial import ConnectTimeout
from stepwell.engine.transport.pool import Pool
from stepwell.engine.transport.target import Origin
from tests.unit.engine.transport.peers import (
    DEADLINE_S,
    Peer,
    StandingClock,
    response,
    says,
    says_and_closes,
    says_nothing,
    serving,
    until,
)

HEAD = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
NEVER = 1e6


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def pool(clock: StandingClock) -> AsyncIterator[Pool]:
    pool = Pool(idle_s=4, connect_timeout_s=DEADLINE_S, body_bytes_max=1000, time=clock)
    yield pool
    await pool.stop()


async def ask(pool: Pool, peer: Peer, *, host: str = "127.0.0.1", deadline: float = NEVER) -> int:
    return (await pool.exchange(Origin("http", host, peer.port), HEAD, b"", deadline=deadline)).status


# -- reuse ----------------------------------------------------------------------------------------------------------


async def test_requests_in_a_row_share_a_connection(pool: Pool) -> None:
    async with serving(says(response())) as peer:
        for _ in range(3):
            await ask(pool, peer)

        assert (peer.connection_count, len(peer.requests), pool.idle_count) == (1, 3, 1)


async def test_requests_at_once_have_a_connection_each_and_those_are_used_again(pool: Pool) -> None:
    async with serving(says(response())) as peer:
        for _ in range(3):
            await asyncio.gather(*(ask(pool, peer) for _ in range(5)))

        assert (peer.connection_count, len(peer.requests), pool.idle_count) == (5, 15, 5)


async def test_a_connection_is_used_again_until_it_has_idled_too_long(pool: Pool, clock: StandingClock) -> None:
    async with serving(says(response())) as peer:
        await ask(pool, peer)
        clock.at_s += 3.9
        await ask(pool, peer)
        clock.at_s += 3.9
        await ask(pool, peer)
        clock.at_s += 4
        await ask(pool, peer)

        assert [request.connection for request in peer.requests] == [1, 1, 1, 2]


async def test_an_idle_connection_is_closed_when_its_time_is_over(pool: Pool, clock: StandingClock) -> None:
    async with serving(says(response())) as peer:
        await asyncio.gather(ask(pool, peer), ask(pool, peer))
        clock.at_s += 2
        await ask(pool, peer)
        clock.at_s += 2
        pool.sweep()
        left = pool.idle_count
        clock.at_s += 2
        pool.sweep()

        assert (left, pool.idle_count) == (1, 0)
        await peer.closed()


async def test_the_pool_sweeps_by_itself() -> None:
    pool = Pool(idle_s=0.01, connect_timeout_s=DEADLINE_S, body_bytes_max=1000)
    async with serving(says(response())) as peer:
        await ask(pool, peer)

        await peer.closed()
    await pool.stop()


async def test_without_idling_each_request_has_its_own_connection() -> None:
    pool = Pool(idle_s=0, connect_timeout_s=DEADLINE_S, body_bytes_max=1000)
    async with serving(says(response())) as peer:
        await ask(pool, peer)
        await ask(pool, peer)

        assert (peer.connection_count, pool.idle_count) == (2, 0)
        await peer.closed()
    await pool.stop()


async def test_a_connection_that_the_app_closes_while_it_idles_is_not_used(pool: Pool) -> None:
    async with serving(says_and_closes(response())) as peer:
        await ask(pool, peer)
        await until(lambda: pool.idle_count == 0)

        assert await ask(pool, peer) == 206
        assert peer.connection_count == 2


async def test_bytes_on_an_idle_connection_close_it(pool: Pool) -> None:
    async def answer_twice(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(response())
        await until(lambda: pool.idle_count == 1)
        writer.write(response(status="500 Not Asked For"))

    async with serving(answer_twice) as peer:
        await ask(pool, peer)
        await until(lambda: pool.idle_count == 0)

        assert await ask(pool, peer) == 206
        assert peer.connection_count == 2


async def test_a_request_is_not_sent_twice_when_a_kept_connection_breaks(pool: Pool) -> None:
    """The app may have done the work: whether to try again is decided by who knows the attempts."""

    async def answer_once(request: Any, writer: asyncio.StreamWriter) -> None:
        if len(peer.requests) == 2:
            writer.close()
        else:
            writer.write(response())

    async with serving(answer_once) as peer:
        await ask(pool, peer)
        with pytest.raises(Disconnected, match="before it answered"):
            await ask(pool, peer)

        assert [request.connection for request in peer.requests] == [1, 1]


async def test_connections_are_shared_by_origin_alone(pool: Pool) -> None:
    async with serving(says(response())) as one, serving(says(response())) as other:
        for peer in (one, other, one, other):
            await ask(pool, peer)

        assert (one.connection_count, other.connection_count) == (1, 1)


# -- ends before the response ---------------------------------------------------------------------------------------


async def test_a_request_ends_at_its_deadline(pool: Pool, clock: StandingClock) -> None:
    async with serving(says_nothing) as peer:
        asking = asyncio.ensure_future(ask(pool, peer, deadline=clock.at_s + 7200))
        await peer.asked.wait()
        clock.at_s += 7199
        pool.sweep()
        await asyncio.sleep(0)
        is_early = asking.done()
        clock.at_s += 1
        pool.sweep()

        with pytest.raises(TimeoutError):
            await asking
        assert not is_early
        await peer.closed()


async def test_the_deadline_needs_nobody_to_look() -> None:
    pool = Pool(idle_s=4, connect_timeout_s=DEADLINE_S, body_bytes_max=1000)
    async with serving(says_nothing) as peer:
        with pytest.raises(TimeoutError):
            await ask(pool, peer, deadline=pool.time() + 0.01)

        await peer.closed()
    await pool.stop()


async def test_headers_that_trickle_in_do_not_move_the_deadline(pool: Pool, clock: StandingClock) -> None:
    async def trickle(_request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            clock.at_s += 1
            writer.write(b"X-Slow: yes\r\n")
            await writer.drain()
            pool.sweep()
            await asyncio.sleep(0)

    async with serving(trickle) as peer:
        with pytest.raises(TimeoutError):
            await ask(pool, peer, deadline=clock.at_s + 50)


async def test_a_cancelled_request_closes_its_connection(pool: Pool) -> None:
    async with serving(says_nothing) as peer:
        asking = asyncio.ensure_future(ask(pool, peer))
        await peer.asked.wait()
        asking.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asking
        await peer.closed()
        assert pool.idle_count == 0


async def test_stopping_ends_requests_and_closes_everything(pool: Pool) -> None:
    async with serving(says(response())) as idle, serving(says_nothing) as busy:
        await ask(pool, idle)
        asking = asyncio.ensure_future(ask(pool, busy))
        await busy.asked.wait()

        await pool.stop()

        with pytest.raises(Disconnected):
            await asking
        await idle.closed()
        await busy.closed()
        with pytest.raises(Disconnected):
            await ask(pool, idle)


async def test_a_connection_that_is_made_while_the_pool_stops_is_closed(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    connect = dial.Dialer._connect

    async def late(self: Any, origin: Origin, address: str) -> Connection:
        await gate.wait()
        return await connect(self, origin, address)

    monkeypatch.setattr(dial.Dialer, "_connect", late)
    async with serving(says(response())) as peer:
        asking = asyncio.ensure_future(ask(pool, peer))
        await asyncio.sleep(0)
        await pool.stop()
        gate.set()

        with pytest.raises(Disconnected):
            await asking
        await until(lambda: peer.connection_count == 1)
        await peer.closed()


async def test_a_silent_connection_is_probed(pool: Pool) -> None:
    async with serving(says(response())) as peer:
        await ask(pool, peer)

        (connection,) = pool._connections
        assert connection._transport is not None
        assert connection._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


# -- connecting -----------------------------------------------------------------------------------------------------


async def test_a_refused_connection_is_told(pool: Pool) -> None:
    async with serving(says(response())) as peer:
        pass

    with pytest.raises(ConnectionRefusedError):
        await ask(pool, peer)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_localhost_is_found_on_whichever_family_it_listens(
    pool: Pool, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up is replaced: some machines give one address for the name, and we want to know about both."""
    looks_up(monkeypatch, "::1", "127.0.0.1")
    async with serving(says(response()), host=host) as peer:
        assert await ask(pool, peer, host="localhost") == 206


async def test_an_address_that_swallows_packets_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = dial.Dialer._connect
    pool = Pool(idle_s=4, connect_timeout_s=0.2, body_bytes_max=1000)

    async def swallow(self: Any, origin: Origin, address: str) -> Connection:
        if address == "192.0.2.1":
            await asyncio.Event().wait()
        return await connect(self, origin, address)

    monkeypatch.setattr(dial.Dialer, "_connect", swallow)
    looks_up(monkeypatch, "192.0.2.1", "127.0.0.1")
    async with serving(says(response())) as peer:
        assert await ask(pool, peer, host="two.example") == 206
    await pool.stop()


async def test_connecting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server accepts, but says nothing to the TLS handshake."""
    pool = Pool(idle_s=4, connect_timeout_s=0.05, body_bytes_max=1000)
    async with serving(says_nothing) as peer:
        with pytest.raises(ConnectTimeout):
            await pool.exchange(Origin("https", "127.0.0.1", peer.port), HEAD, b"", deadline=NEVER)

        await peer.closed()
    await pool.stop()


async def test_a_name_is_looked_up_once_for_many_connections(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = looks_up(monkeypatch, "127.0.0.1")
    async with serving(says(response())) as peer:
        await asyncio.gather(*(ask(pool, peer, host="app.example") for _ in range(5)))
        await asyncio.gather(*(ask(pool, peer, host="app.example") for _ in range(9)))

        assert (len(asked), peer.connection_count) == (1, 9)


async def test_the_connections_are_spread_over_the_addresses(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = dial.Dialer._connect
    dialled: list[str] = []

    async def note(self: Any, origin: Origin, address: str) -> Connection:
        dialled.append(address)
        return await connect(self, origin, "127.0.0.1")

    monkeypatch.setattr(dial.Dialer, "_connect", note)
    looks_up(monkeypatch, "192.0.2.1", "192.0.2.2", "192.0.2.3")
    async with serving(says(response())) as peer:
        await asyncio.gather(*(ask(pool, peer, host="app.example") for _ in range(6)))

    assert sorted(dialled) == ["192.0.2.1"] * 2 + ["192.0.2.2"] * 2 + ["192.0.2.3"] * 2


async def test_an_address_that_fails_is_left_out_until_the_name_is_looked_up_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = dial.Dialer._connect
    dialled: list[str] = []

    async def refuse(self: Any, origin: Origin, address: str) -> Connection:
        dialled.append(address)
        if address == "192.0.2.1" or is_down:
            raise ConnectionRefusedError
        return await connect(self, origin, "127.0.0.1")

    is_down = False
    monkeypatch.setattr(dial.Dialer, "_connect", refuse)
    asked = looks_up(monkeypatch, "192.0.2.1", "192.0.2.2")
    async with serving(says_and_closes(response())) as peer:
        await ask(pool, peer, host="app.example")
        await until(lambda: pool.idle_count == 0)
        await ask(pool, peer, host="app.example")
        await until(lambda: pool.idle_count == 0)
        is_down = True
        with pytest.raises(ConnectionRefusedError):
            await ask(pool, peer, host="app.example")
        is_down = False
        await ask(pool, peer, host="app.example")

    assert dialled == ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2", "192.0.2.1", "192.0.2.2"]
    assert len(asked) == 2


async def test_a_name_that_nobody_knows_is_told_each_time(pool: Pool) -> None:
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await pool.exchange(Origin("http", "nobody.invalid", 80), HEAD, b"", deadline=NEVER)


async def test_a_name_that_can_be_none_is_a_value_error(pool: Pool) -> None:
    with pytest.raises((ValueError, socket.gaierror)):
        await pool.exchange(Origin("http", "a..b", 80), HEAD, b"", deadline=NEVER)


async def test_an_app_that_closes_before_the_request_was_sent_has_not_answered(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = dial.Dialer._connect

    async def lose(self: Any, origin: Origin, address: str) -> Connection:
        connection = await connect(self, origin, address)
        await until(lambda: not connection.is_open)
        return connection

    monkeypatch.setattr(dial.Dialer, "_connect", lose)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    with pytest.raises(Disconnected, match="before it answered"):
        await pool.exchange(Origin("http", "127.0.0.1", port), HEAD, b"", deadline=NEVER)
    server.close()
    await server.wait_closed()


async def test_of_several_failures_a_refusal_says_most(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_self: Any, _origin: Origin, address: str) -> Connection:
        raise ConnectionRefusedError if address == "192.0.2.2" else OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(dial.Dialer, "_connect", fail)
    looks_up(monkeypatch, "192.0.2.1", "192.0.2.2", "192.0.2.3")
    with pytest.raises(ConnectionRefusedError):
        await pool.exchange(Origin("http", "localhost", 80), HEAD, b"", deadline=NEVER)


def looks_up(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[Origin]:
    """Let names have these addresses; return the list of what is looked up."""
    asked: list[Origin] = []

    async def find(_dialer: Any, origin: Origin) -> Any:
        asked.append(origin)
        await asyncio.sleep(0)
        return dial._Known(list(addresses), asyncio.get_running_loop().time() + 10)

    monkeypatch.setattr(dial.Dialer, "_find", find)
    return asked
