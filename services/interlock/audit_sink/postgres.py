"""PostgreSQL behind the database port: asyncpg on an event loop in a thread of its own."""

import asyncio
import re
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any, TypeVar

from interlock.audit_sink.database import Dialect, Row
from interlock.audit_sink.errors import DatabaseError
from interlock.runtime.errors import UserError

ResultT = TypeVar("ResultT")

_PAGE = 500
_TIMEOUT_S = 60.0
_WRITERS = 0x1A7E510C
"""The advisory lock that writers hold, one after the other."""


class PostgresDatabase:
    """One connection to a PostgreSQL server (13 or newer)."""

    dialect: Dialect = "postgres"

    def __init__(self, url: str) -> None:
        """Connect.

        Raises:
            UserError: asyncpg is not installed.
            DatabaseError: the server does not answer, or refuses.
        """
        try:
            driver = import_module("asyncpg")
        except ModuleNotFoundError:
            raise UserError("PostgreSQL needs asyncpg: pip install 'interlock[postgres]'") from None
        self._errors: tuple[type[Exception], ...]
        self._errors = (driver.PostgresError, driver.InterfaceError, OSError, TimeoutError)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgres", daemon=True)
        self._thread.start()
        try:
            self._connection = self._run(driver.connect(url, timeout=10))
        except BaseException:
            self._stop()
            raise

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return [
            tuple(row) for row in self._run(self._connection.fetch(_numbered(sql), *parameters))
        ]

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            self._run(self._connection.executemany(_numbered(sql), rows))

    def script(self, sql: str) -> None:
        self._run(self._connection.execute(sql))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        if not self._connection.is_in_transaction():  # a cursor lives in one
            with self.snapshot():
                yield from self.rows(sql, parameters)
            return
        cursor = self._run(self._cursor(_numbered(sql), parameters))
        while page := self._run(cursor.fetch(_PAGE)):
            yield from (tuple(row) for row in page)

    async def _cursor(self, sql: str, parameters: Sequence[Any]) -> Any:
        return await self._connection.cursor(sql, *parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield from self._between("read_committed", f"SELECT pg_advisory_xact_lock({_WRITERS})")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        yield from self._between("repeatable_read", "SELECT 1")

    def _between(self, isolation: str, first: str) -> Iterator[None]:
        transaction = self._connection.transaction(isolation=isolation)
        self._run(transaction.start())
        try:
            self.execute(first)
            yield
        except BaseException:
            if not self._connection.is_closed():
                self._run(transaction.rollback())
            raise
        self._run(transaction.commit())

    def close(self) -> None:
        try:
            self._run(self._connection.close(timeout=5))
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Have the loop do it, and wait; its errors as `DatabaseError`."""

        async def awaited() -> ResultT:
            return await work

        try:
            return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(_TIMEOUT_S)
        except self._errors as error:
            # Its message may quote the address, never the password.
            raise DatabaseError(f"{type(error).__name__}: {error}") from error


@lru_cache(maxsize=256)
def _numbered(sql: str) -> str:
    """`?` as `$1`, `$2`, …"""
    number = iter(range(1, 100_000))
    return re.sub(r"\?", lambda _: f"${next(number)}", sql)
