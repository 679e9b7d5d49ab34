"""Reading the audit store, also while the sink is writing: never more than reading."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime

from interlock.audit_sink.stage import AuditRecord
from interlock.runtime.errors import UserError
from interlock_contracts.base import Model
from interlock_contracts.subjects import parse_subject

_COLUMNS = "sequence, subject, type, id, tenant, request_id, logged_at, headers, leaf, data"


class TimelineEntry(Model):
    """One event of a request. `after_ms` is the time since the request's first event."""

    sequence: int
    logged_at: AwareDatetime
    after_ms: float
    event: str
    step: str
    tail: str | None
    type: str
    id: str
    cause: str | None


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write; raises `UserError` when there is no such store."""
    if not path.is_file():
        raise UserError(f"there is no audit store at {path}")
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        yield connection


def by_request(path: Path, request_id: str) -> list[AuditRecord]:
    """Everything kept of one request, in the order of the log."""
    return _select(path, "request_id = ?", (request_id,), -1)


def by_tenant(path: Path, tenant: str, *, after: int = 0, limit: int = 1_000) -> list[AuditRecord]:
    """A page of one tenant's records: those after this sequence, in the order of the log."""
    return _select(path, "tenant = ? AND sequence > ?", (tenant, after), limit)


def timeline(path: Path, request_id: str) -> list[TimelineEntry]:
    """What happened to one request, when, and what followed from what."""
    records = by_request(path, request_id)
    return [_entry(record, records[0].logged_at) for record in records]


def _entry(record: AuditRecord, start: datetime) -> TimelineEntry:
    address = parse_subject(record.subject)  # a record has a request only if its subject is ours
    return TimelineEntry(
        sequence=record.sequence,
        logged_at=record.logged_at,
        after_ms=(record.logged_at - start).total_seconds() * 1000,
        event=address.event,
        step=address.step,
        tail=address.tail,
        type=record.type,
        id=record.id,
        cause=record.headers.get("ce-cause"),
    )


def _select(path: Path, where: str, parameters: tuple[Any, ...], limit: int) -> list[AuditRecord]:
    with reading(path) as connection:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY sequence LIMIT ?",  # noqa: S608 - constants
            (*parameters, limit),
        ).fetchall()
    return [_record(row) for row in rows]


def _record(row: tuple[Any, ...]) -> AuditRecord:
    sequence, subject, type_, id_, tenant, request_id, logged_at, headers, leaf, data = row
    return AuditRecord(
        sequence=sequence,
        subject=subject,
        type=type_,
        id=id_,
        tenant=tenant,
        request_id=request_id,
        logged_at=datetime.fromisoformat(logged_at),
        headers=json.loads(headers),
        leaf=leaf,
        data=data,
    )
