"""The database under the audit store and the key store: a port, and SQLite behind it.

SQL is written once, in what SQLite and PostgreSQL have in common, with `?` for parameters; what
differs (types, triggers) is in `schema.py`. Use a database from one thread at a time.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from interlock.audit_sink.errors import DatabaseError

Row = tuple[Any, ...]
Dialect = Literal["sqlite", "postgres"]

_PAGE = 500


class Database(Protocol):
    """One connection. Every method raises `DatabaseError`."""

    dialect: Dialect

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; its rows."""

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        """Run one statement for each row of parameters."""

    def script(self, sql: str) -> None:
        """Run several statements."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows of a query, read as they are asked for."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing; writers of several processes come one after the other."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Queries inside see one state, while others go on writing."""

    def close(self) -> None:
        """Close the connection."""


class SqliteDatabase:
    """An SQLite file. `secret` files forget for good what is deleted from them."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path, *, writable: bool = True, secret: bool = False) -> None:
        """Open the file, made when it is to be written and not there. Raises `DatabaseError`."""
        if writable:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        uri = f"{path.resolve().as_uri()}?mode={'rwc' if writable else 'ro'}"
        with _translated():
            self._connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False
            )
            # Text is read as stored, whatever is in it: a damaged file is reported, not raised.
            self._connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            try:
                self._set_up(writable, secret)
            except BaseException:
                self._connection.close()
                raise

    def _set_up(self, writable: bool, secret: bool) -> None:
        run = self._connection.execute
        run("PRAGMA busy_timeout = 5000")
        if not writable:
            return
        # What is deleted from a secret file must not live on in a write-ahead log.
        run(f"PRAGMA journal_mode = {'TRUNCATE' if secret else 'WAL'}")
        run(f"PRAGMA synchronous = {'EXTRA' if secret else 'FULL'}")
        run("PRAGMA secure_delete = ON")
        run("PRAGMA wal_autocheckpoint = 8000")
        run("PRAGMA cache_size = -65536")

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with _translated():
            return self._connection.execute(sql, parameters).fetchall()

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        with _translated():
            self._connection.executemany(sql, rows)

    def script(self, sql: str) -> None:
        # executescript would commit the transaction first
        statement = ""
        for line in sql.splitlines():
            statement += line + "\n"
            if sqlite3.complete_statement(statement):
                self.execute(statement)
                statement = ""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        with _translated():
            cursor = self._connection.execute(sql, parameters)
            while page := cursor.fetchmany(_PAGE):
                yield from page

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield from self._between("BEGIN IMMEDIATE")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        yield from self._between("BEGIN")

    def _between(self, begin: str) -> Iterator[None]:
        self.execute(begin)
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._connection.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseError(f"{type(error).__name__}: {error}") from error
