"""Audit stores for tests: in a file or in a real PostgreSQL, and records to put into them."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.postgres import postgres_server

from interlock.audit_sink.database import Database, SqliteDatabase
from interlock.audit_sink.keys import KeyStore
from interlock.audit_sink.postgres import PostgresDatabase
from interlock.audit_sink.query import AuditReader, Kept, Query
from interlock.audit_sink.stage import AuditRecord, Message, decide
from interlock.audit_sink.store import AuditStore
from interlock.audit_sink.verify import Report, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
START = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = "01JD0000000000000000000000"


@dataclass(frozen=True)
class Place:
    """Where a store of a test is: how to open its data, and how to open its keys."""

    data: Callable[[], Database]
    key_data: Callable[[], Database]

    def keys(self) -> KeyStore:
        return KeyStore(self.key_data())

    def store(self, key: Ed25519PrivateKey = KEY) -> AuditStore:
        return AuditStore(self.data(), self.keys(), key)

    @contextmanager
    def reader(self, *, sealed: bool = False) -> Iterator[AuditReader]:
        with closing(self.data()) as database, closing(self.keys()) as keys:
            yield AuditReader(database, None if sealed else keys)

    def select(self, **query: Any) -> list[Kept]:
        with self.reader() as reader:
            return list(reader.select(Query(**query)))

    def verify(self, *, sealed: bool = False, **options: Any) -> Report:
        with self.reader(sealed=sealed) as reader:
            return verify(reader.database, KEY.public_key(), reader.keys, **options)

    def run(self, statement: str, *parameters: Any) -> None:
        with closing(self.data()) as database:
            database.execute(statement, parameters)


def files(folder: Path, name: str = "audit.db") -> Place:
    """A store in files below `folder`."""
    return Place(
        lambda: SqliteDatabase(folder / name),
        lambda: SqliteDatabase(folder / "keys.db", secret=True),
    )


_numbers = count()


def postgres() -> Place:
    """A store in two new databases of a real PostgreSQL."""
    server, number = postgres_server(), next(_numbers)
    names = [f"audit{number}", f"keys{number}"]
    with closing(PostgresDatabase(server)) as admin:
        for name in names:
            admin.execute(f"CREATE DATABASE {name}")
    data, keys = (server.replace("/postgres?", f"/{name}?") for name in names)
    return Place(lambda: PostgresDatabase(data), lambda: PostgresDatabase(keys))


def record(
    sequence: int,
    body: bytes = b"{}",
    tenant: str = "acme",
    event: str = "route",
    request: str = REQUEST,
) -> AuditRecord:
    return decide(
        Message(
            subject=f"ev.{event}.{tenant}.{request}.{sequence}",
            headers={
                "ce-id": f"{sequence:026}",
                "ce-type": f"interlock.{event}.v1",
                "ce-cause": "C" * 26,
            },
            body=body,
            sequence=sequence,
            logged_at=START + timedelta(milliseconds=sequence),
        )
    )


def message(
    sequence: int, subject: str, data: object, *, cause: str = "", minutes: float = 0
) -> AuditRecord:
    """The record of an event with this data; `cause` is the id of the event it follows from."""
    event = subject.split(".")[1]
    headers = {"ce-id": f"{sequence:026}", "ce-type": f"interlock.{event}.v1"}
    if cause:
        headers["ce-cause"] = cause
    moment = START + timedelta(milliseconds=sequence, minutes=minutes)
    body = json.dumps(data).encode()
    return decide(Message(subject, headers, body, sequence, moment))
