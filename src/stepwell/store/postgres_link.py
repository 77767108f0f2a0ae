"""Connections to PostgreSQL: made when needed, anew after they broke; transactions and the statements of plans on them.

What a failure means is decided here. *An outage* is mended by waiting: the same may go through later. The rest is the
fault of what was to be stored, and stays one however often it is tried.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from stepwell.errors import StoreUnavailable
from stepwell.store.group_commit import NoRoom
from stepwell.store.query import Statement, load_queries
from stepwell.store.read import Text
from stepwell.store.rows import Row
from stepwell.store.url import each_host

T = TypeVar("T")


class Patience(NamedTuple):
    """How long to wait for the database, in seconds."""

    connect_s: float = 5.0
    """For each host to let us in, and for a connection to begin a transaction."""
    statement_s: float = 30.0


_STATEMENTS_CACHED: Final = 300
_TEXTS_CACHED: Final = 1_000  # of questions, which are of as many texts as there are filters and limits
_ROOM_POLL_S: Final = 0.05
_SILENCE_KEPT_S: Final = 0.5

CONFLICTS: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,  # a migration changed a table after the statement was prepared
    asyncpg.OutdatedSchemaCacheError,
)
"""What goes through when the transaction is tried again at once."""

_OUTAGES: Final = (
    OSError,  # time-outs, too
    asyncpg.InterfaceError,  # of the driver: the connection is closed
    asyncpg.InternalClientError,  # of the driver: it lost the thread, or no host is a primary
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, crashed, starting up, statement or idle time-out
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.PostgresSystemError,  # the disk failed
    asyncpg.InvalidTransactionStateError,  # it is a standby now; we were silent for too long in a transaction
    asyncpg.ObjectNotInPrerequisiteStateError,  # a lock that isn't to be had
    asyncpg.InternalServerError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    # The statements are always the same: what is wrong with one is what they find there. A table or a right is gone.
    asyncpg.SyntaxOrAccessError,
    asyncpg.InvalidSchemaNameError,
)
_FAULTS: Final = (
    ValueError,  # of the driver, among its InterfaceErrors: a value that PostgreSQL has no form for
    asyncpg.DataCorruptedError,  # the rows of one run, say: others needn't suffer
    asyncpg.IndexCorruptedError,
)
_BROKEN: Final = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""After these the state of a connection isn't known."""


def is_outage(error: BaseException) -> bool:
    """Tell whether a failure is mended by waiting."""
    return isinstance(error, _OUTAGES) and not isinstance(error, _FAULTS)


def unavailable(error: BaseException) -> StoreUnavailable:
    """Return an outage as an error of the store."""
    kind = NoRoom if isinstance(error, asyncpg.TooManyConnectionsError) else StoreUnavailable
    why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return kind(f"PostgreSQL can't be used now: {why}")


# Each statement of the hot path has an index for what it looks up. The planner must not think otherwise, as it does on
# a table that was small or unknown when the plan was made, nor plan the same text again and again.
HOT_PATH: Final = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}

# A walk reads rows in the order of an index, however many the planner believes that there are.
WALK: Final = "; set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_sort = off"


_WRITING: Final = " isolation level read committed"
"""What the rules for many writers hold under (design 5), whatever a role's default is."""


class Connection(Protocol):
    """What is used of ``asyncpg.Connection``."""

    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...
    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str: ...  # noqa: ASYNC109 - the driver's
    async def fetch(self, query: str, *args: Any) -> Sequence[Row]: ...
    async def close(self, *, timeout: float) -> None: ...  # noqa: ASYNC109 - the driver's
    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...
    def add_termination_listener(self, callback: Callable[..., None]) -> None: ...


_connect: Callable[..., Awaitable[Connection]] = cast("Any", asyncpg.connect)


class Hosts:
    """The hosts of a URL. Each is given its own time to answer, and the one that answered is asked first the next time.

    The driver by itself gives all of them one time together: a first host that has vanished from the network, and
    refuses nothing, would use it up. Links share this, so that after a fail-over one of them finds the new primary.
    """

    def __init__(self, url: str) -> None:
        self._urls = deque(each_host(url))
        self._silent_until = 0.0

    async def connect(self, **options: Any) -> Connection:
        """Connect to the first host that will do. Raises what the driver raises, of several the most telling.

        After all were silent, the next ones who ask are told so at once: they may be many, and each would have to wait.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._silent_until:
            raise TimeoutError
        failures: list[Exception] = []
        for url in tuple(self._urls):
            try:
                return await _connect(url, **options)
            except BaseException as error:
                # One that was waited for in vain and given up counts as well, or the next one would be as patient.
                if self._urls[0] == url:
                    self._urls.rotate(-1)
                if not (isinstance(error, Exception) and is_outage(error)):
                    raise
                failures.append(error)
        if all(isinstance(failure, TimeoutError) for failure in failures):
            self._silent_until = loop.time() + _SILENCE_KEPT_S
        raise min(failures, key=lambda error: isinstance(error, asyncpg.TargetServerAttributeNotMatched))


class Link:
    """One connection, made when it is needed, and anew after it broke. Used by one task at a time."""

    def __init__(self, hosts: Hosts, settings: dict[str, str], *, is_pooled: bool, patience: Patience) -> None:
        self._hosts, self._is_pooled, self.patience = hosts, is_pooled, patience
        # Behind a transaction-pooling proxy a setting holds for a transaction, and nothing may be prepared.
        self._settings = {} if is_pooled else settings
        self._begin = "".join(f"; {_set_local(name, value)}" for name, value in settings.items() if is_pooled)
        self._connection: Connection | None = None
        self._is_suspect = False

    @property
    def is_connected(self) -> bool:
        """Tell whether there is a connection, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, mode: str = "") -> T:
        """Do some work in one transaction. Raises what the driver raises; then nothing of it was committed, unless
        the connection broke at the commit itself.
        """
        connection = await self._in_transaction(f"begin{mode or _WRITING}{self._begin}")
        try:
            result = await work(connection)
            await connection.execute("commit")
        except BaseException as error:
            await self._undo(connection, error)
            raise
        return result

    async def _in_transaction(self, begin: str) -> Connection:
        """Return the connection after ``begin``. One that broke since its last use is made anew: nothing was sent yet."""
        while True:
            is_old = self.is_connected
            try:
                connection = await self.get()
                await connection.execute(begin, timeout=self.patience.connect_s)
                return connection
            except BaseException as error:
                self.drop()
                if not (is_old and isinstance(error, Exception)):
                    raise

    async def _undo(self, connection: Connection, error: BaseException) -> None:
        """Roll back, on the server too if it still listens."""
        is_standby = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
        is_broken = isinstance(error, _BROKEN) and not isinstance(error, _FAULTS)
        if connection.is_closed() or is_standby or is_broken or not isinstance(error, Exception):
            self.drop()
            return
        try:
            await connection.execute("rollback", timeout=self.patience.connect_s)
        except BaseException as failure:
            self.drop()  # then the server rolls back
            if not isinstance(failure, Exception):
                raise

    async def get(self) -> Connection:
        """Return the connection, to the primary where there are several hosts."""
        if self._is_suspect:
            self.drop()
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._hosts.connect(
                timeout=self.patience.connect_s,
                command_timeout=self.patience.statement_s + self.patience.connect_s,
                statement_cache_size=0 if self._is_pooled else _STATEMENTS_CACHED,
                max_cached_statement_lifetime=0,
                server_settings={"application_name": "stepwell", **self._settings} if not self._is_pooled else {},
                target_session_attrs="read-write" if not self._is_pooled else "any",
            )
        return self._connection

    def suspect(self) -> None:
        """Have the connection made anew before it is used again: it may lead to the wrong server."""
        self._is_suspect = True

    def drop(self) -> None:
        """Give the connection up: its state isn't known."""
        self._is_suspect = False
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close in good order."""
        if self._connection is not None and not self._connection.is_closed():
            try:
                await self._connection.close(timeout=self.patience.connect_s)
            except Exception:  # noqa: BLE001 - it is closed all the same
                self.drop()
        self._connection = None


def _set_local(name: str, value: str) -> str:
    # The value of search_path is a list of names; in quotes it would be one name.
    return f"set local {name} = {value}" if name == "search_path" else f"set local {name} = '{value}'"


class Links:
    """Several links, each for one task at a time; those that are connected first."""

    def __init__(self, links: Sequence[Link], *, patience: Patience) -> None:
        self.all = tuple(links)
        self._free = list(links)
        self._count = asyncio.Semaphore(len(links))
        self._patience = patience

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, mode: str = "") -> T:
        """Do some work in one transaction on one of them, as ``Link.transact`` does."""
        deadline = asyncio.get_running_loop().time() + self._patience.connect_s
        while True:
            async with self._one() as link:
                try:
                    return await link.transact(work, mode=mode)
                except asyncpg.TooManyConnectionsError:
                    has_others = any(other.is_connected for other in self.all)
                    if not has_others or asyncio.get_running_loop().time() > deadline:
                        raise
            await asyncio.sleep(_ROOM_POLL_S)  # until one that has a connection is free

    @asynccontextmanager
    async def _one(self) -> AsyncGenerator[Link]:
        async with self._count:
            link = next((link for link in self._free if link.is_connected), self._free[0])
            self._free.remove(link)
            try:
                yield link
            finally:
                self._free.append(link)


async def run_plan(plan: Generator[Statement | Text, Sequence[Row], T], connection: Connection) -> T:
    """Run a plan's statements, one after the other, and return its result."""
    try:
        statement = next(plan)
        while True:
            statement = plan.send(await run_statement(statement, connection))
    except StopIteration as end:
        return end.value


async def run_statement(statement: Statement | Text, connection: Connection) -> Sequence[Row]:
    """Run one statement and return what comes back."""
    if isinstance(statement, Text):
        return await connection.fetch(numbered(statement.text), *statement.values)
    text, names, has_rows = _text(statement.name)
    values: list[Any] = [statement.parameters[name] for name in names]
    if has_rows:
        if not statement.rows:
            return ()
        values[:0] = zip(*statement.rows, strict=True)
    return await connection.fetch(text, *values)


@cache
def _text(name: str) -> tuple[str, tuple[str, ...], bool]:
    query = load_queries("postgres")[name]
    return (*query.postgres(), bool(query.columns))


@lru_cache(_TEXTS_CACHED)
def numbered(text: str) -> str:
    """Return a text with ``?`` for its values in PostgreSQL's form."""
    pieces = text.split("?")
    return "".join(f"{piece}${number}" for number, piece in enumerate(pieces[:-1], 1)) + pieces[-1]
