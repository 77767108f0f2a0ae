"""What replicas tell each other: hints by LISTEN and NOTIFY, coalesced, on a connection of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

import msgspec
import structlog

from stepwell.protocol.ids import ReplicaId
from stepwell.store.news import Changed, News, Viewing
from stepwell.store.postgres_link import Connection, Link

_DELAY_S: Final = 0.01  # what is told within it goes out together
_BYTES_MAX: Final = 7_900  # PostgreSQL takes less than 8,000
_IDS_MAX: Final = 200  # of one notification: 29 bytes each
_PARTS_MAX: Final = 50  # of what changed that wait for a connection
_RETRY_S: Final = 1.0

log = structlog.get_logger("stepwell.store")


class _Telling(msgspec.Struct, omit_defaults=True):
    """News on the wire: who tells it, and what."""

    by: str
    due: dict[str, int] = {}
    is_synced: bool = False
    is_left: bool = False
    room: list[str] = []
    is_new: bool = False
    viewing: Viewing | None = None
    changed: Changed | None = None


class NewsChannel:
    """Tells and hears what replicas tell each other, on one connection."""

    def __init__(self, link: Link, schema: str, replica_id: ReplicaId) -> None:
        self.replica_id = replica_id
        self.hear: Callable[[News], None] | None = None
        self.is_connected = False
        self._link = link
        self._channel = schema  # as long as a channel's name may be
        self._next: _Telling | None = None
        self._viewing: Viewing | None = None
        self._changed: deque[Changed] = deque()
        self._wakes = asyncio.Event()
        self._is_doubted = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen until stopped."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Tell what there is to tell, and close."""
        if self._task is not None:
            was_connected = self.is_connected
            self._task.cancel()
            await asyncio.wait([self._task])
            if was_connected and self._has_more:
                with suppress(Exception):  # these were hints
                    await self._send(await self._link.get())
        await self._link.close()

    def tell(self, news: News) -> None:
        """Add to what goes out next."""
        if news.viewing is not None:
            self._viewing = news.viewing
        if news.changed is not None:
            self._tell_changed(news.changed)
        if news.due or news.is_synced or news.is_left or news.room or news.is_new:
            telling = self._next = self._next or _Telling(by=self.replica_id)
            for partition, due_at in news.due.items():
                telling.due[partition] = min(due_at, telling.due.get(partition, due_at))
            telling.is_synced |= news.is_synced
            telling.is_left |= news.is_left
            telling.is_new |= news.is_new
            telling.room += [key for key in news.room if key not in telling.room]
        self._wakes.set()

    def _tell_changed(self, changed: Changed) -> None:
        """Keep it until it goes out, in parts that fit; of more than can be kept, only that there was more."""
        if len(self._changed) < _PARTS_MAX:
            self._changed += parts(changed)
        else:
            self._changed[-1] = Changed(is_doubtful=True)

    @property
    def _has_more(self) -> bool:
        return self._next is not None or self._viewing is not None or bool(self._changed)

    def check(self) -> None:
        """See whether the connection still is one: who only listens isn't told when the other end has vanished."""
        self._is_doubted = True
        self._wakes.set()

    def reconnect(self) -> None:
        """Listen elsewhere: this isn't the server any more where all are."""
        self._link.drop()

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - news are hints: without them, replicas look by themselves
                log.debug("news.interrupted", error=str(error))
            self.is_connected = False
            self._link.drop()
            await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        """Listen and tell until the connection ends."""
        connection = await self._link.get()
        await connection.add_listener(self._channel, self._heard)
        connection.add_termination_listener(self._ended)
        self.is_connected, self._is_doubted = True, False
        self._hear(News({}, is_synced=True, is_left=True))  # whatever was told meanwhile was missed
        self.tell(News({}, is_new=True))
        while not connection.is_closed():
            await self._wakes.wait()
            self._wakes.clear()
            await asyncio.sleep(_DELAY_S)
            if connection.is_closed():
                return
            if self._is_doubted:
                await connection.execute("select 1", timeout=self._link.patience.connect_s)
                self._is_doubted = False
            if self._has_more:
                await self._send(connection)

    def _ended(self, _connection: object) -> None:
        self._wakes.set()

    async def _send(self, connection: Connection) -> None:
        telling, self._next = self._next, None
        viewing, self._viewing = self._viewing, None
        changed, self._changed = self._changed, deque()
        if telling is not None:
            payload = msgspec.json.encode(telling).decode()
            if len(payload) > _BYTES_MAX:
                telling = _Telling(by=self.replica_id, is_synced=True, is_left=True, is_new=telling.is_new)
            await self._notify(connection, telling)
        if viewing is not None:
            await self._notify(connection, _Telling(by=self.replica_id, viewing=viewing))
        for part in changed:
            await self._notify(connection, _Telling(by=self.replica_id, changed=part))

    async def _notify(self, connection: Connection, telling: _Telling) -> None:
        payload = msgspec.json.encode(telling).decode()
        await connection.execute(
            "select pg_notify($1, $2)", self._channel, payload, timeout=self._link.patience.connect_s
        )

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            telling = msgspec.json.decode(cast("str", payload), type=_Telling)
        except msgspec.DecodeError:
            log.warning("news.unreadable", channel=self._channel)
            return
        is_for_others = telling.changed is not None and telling.changed.to not in (None, self.replica_id)
        if telling.by != self.replica_id and not is_for_others:
            self._hear(
                News(
                    telling.due,
                    is_synced=telling.is_synced,
                    is_left=telling.is_left,
                    room=tuple(telling.room),
                    is_new=telling.is_new,
                    viewing=telling.viewing,
                    changed=telling.changed,
                    by=ReplicaId(telling.by),
                )
            )

    def _hear(self, news: News) -> None:
        if self.hear is not None:
            self.hear(news)


def parts(changed: Changed) -> list[Changed]:
    """Split what changed into parts, each of which fits into a notification. The first one says of what there is more."""
    named = [
        *(("new_runs", id) for id in changed.new_runs),
        *(("runs", id) for id in changed.runs),
        *(("events", id) for id in changed.events),
        *(("logged", id) for id in changed.logged),
    ]
    rest = changed._replace(new_runs=(), runs=(), events=(), logged=())
    made: list[Changed] = []
    for start in range(0, len(named), _IDS_MAX):
        lists: dict[str, list[str]] = {}
        for kind, id in named[start : start + _IDS_MAX]:
            lists.setdefault(kind, []).append(id)
        made.append(rest._replace(**lists))
        rest = Changed(to=changed.to)
    return made or [rest]
