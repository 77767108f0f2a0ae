"""Connections to PostgreSQL: made when needed, anew after they broke; transactions and the statements of plans on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import cache
from typing import Any, Final, Protocol, TypeVar, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from stepwell.store.query import Statement, load_queries
from stepwell.store.read import Text
from stepwell.store.rows import Row

T = TypeVar("T")

CONNECT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 30.0
_STATEMENTS_CACHED: Final = 300

CONFLICTS: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,  # of the driver: the connection is closed
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, crashed, starting up, statement or idle time-out
    asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.PostgresSystemError,  # the disk failed
    asyncpg.ReadOnlySQLTransactionError,  # it is a standby now
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.LockNotAvailableError,
    asyncpg.InternalServerError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""What is mended by waiting: a restart, a fail-over, a full disk."""

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


class Connection(Protocol):
    """What is used of ``asyncpg.Connection``."""

    def is_closed(self) -> bool: ...
    def terminate(self) -> None: ...
    async def execute(self, query: str, *args: Any) -> str: ...
    async def fetch(self, query: str, *args: Any) -> Sequence[Row]: ...
    async def close(self, *, timeout: float) -> None: ...  # noqa: ASYNC109 - the driver's
    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...
    def add_termination_listener(self, callback: Callable[..., None]) -> None: ...


_connect: Callable[..., Awaitable[Connection]] = cast("Any", asyncpg.connect)


class Link:
    """One connection, made when it is needed, and anew after it broke. Used by one task at a time."""

    def __init__(self, url: str, settings: dict[str, str], *, is_pooled: bool) -> None:
        self._url, self._is_pooled = url, is_pooled
        # Behind a transaction-pooling proxy a setting holds for a transaction, and nothing may be prepared.
        self._settings = {} if is_pooled else settings
        self._begin = "".join(f"; set local {name} = '{value}'" for name, value in settings.items() if is_pooled)
        self._connection: Connection | None = None

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, mode: str = "") -> T:
        """Do some work in one transaction. Raises what the driver raises; then nothing of it was committed, unless
        the connection broke at the commit itself.
        """
        begin = f"begin{mode}{self._begin}"
        connection = await self.get()
        try:
            await connection.execute(begin)
        except Exception:  # noqa: BLE001 - it may have been broken since its last use: nothing was sent yet
            self.drop()
            connection = await self.get()
            await connection.execute(begin)
        try:
            result = await work(connection)
            await connection.execute("commit")
        except BaseException as error:
            await self._undo(connection, error)
            raise
        return result

    async def _undo(self, connection: Connection, error: BaseException) -> None:
        """Roll back, on the server too if it still listens."""
        is_standby = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
        if connection.is_closed() or is_standby or not isinstance(error, Exception):
            self.drop()
            return
        try:
            await connection.execute("rollback")
        except Exception:  # noqa: BLE001 - then the server rolls back
            self.drop()

    async def get(self) -> Connection:
        """Return the connection, to the primary where there are several hosts."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await _connect(
                self._url,
                timeout=CONNECT_S,
                command_timeout=STATEMENT_TIMEOUT_S + CONNECT_S,
                statement_cache_size=0 if self._is_pooled else _STATEMENTS_CACHED,
                max_cached_statement_lifetime=0,
                server_settings={"application_name": "stepwell", **self._settings} if not self._is_pooled else {},
                target_session_attrs="read-write" if not self._is_pooled else "any",
            )
        return self._connection

    def drop(self) -> None:
        """Give the connection up: its state isn't known."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close in good order."""
        if self._connection is not None and not self._connection.is_closed():
            try:
                await self._connection.close(timeout=CONNECT_S)
            except Exception:  # noqa: BLE001 - it is closed all the same
                self.drop()
        self._connection = None


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


@cache
def numbered(text: str) -> str:
    """Return a text with ``?`` for its values in PostgreSQL's form."""
    pieces = text.split("?")
    return "".join(f"{piece}${number}" for number, piece in enumerate(pieces[:-1], 1)) + pieces[-1]
