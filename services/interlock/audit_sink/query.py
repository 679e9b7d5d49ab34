"""Reading the audit store, also while the sink is writing: never more than reading."""

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime

from interlock.audit_sink.database import Database, Row
from interlock.audit_sink.gone import Gone
from interlock.audit_sink.ingest import term
from interlock.audit_sink.keys import KeyStore
from interlock.audit_sink.schema import READABLE
from interlock.audit_sink.sealing import Content, unseal
from interlock.audit_sink.stage import time_text
from interlock.runtime.errors import UserError
from interlock_contracts.base import Model
from interlock_contracts.event import Event
from interlock_contracts.subjects import parse_subject

_COLUMNS = f"sequence, {', '.join(READABLE)}, payload"

DOCUMENT = ("document", "version", "chunk")
"""The kinds of facet that a document can be named by: its id, a version, a passage's digest."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One record as it can be read now.

    `state`: `readable`; `erased` or `expired` by an order on record; `sealed` where there is no
    key. `headers` and `data` are None unless it is readable. `data_subject` is a pseudonym.
    """

    sequence: int
    subject: str
    type: str
    id: str
    cause: str
    tenant: str
    request_id: str
    logged_at: datetime
    data_subject: str
    facets: dict[str, list[str]]
    state: Literal["readable", "erased", "expired", "sealed"]
    headers: dict[str, str] | None
    data: bytes | None

    @property
    def event(self) -> str:
        """The name of the event; empty for what is none."""
        return self.subject.split(".")[1] if self.request_id else ""

    def decoded(self) -> Event:
        """The event; raises `InvalidEvent` if it is none, `ValueError` if it cannot be read."""
        if self.data is None:
            raise ValueError(f"record {self.sequence} is {self.state}")
        return Event.decode(
            self.subject,
            self.headers,
            self.data,
            logged_at=self.logged_at,
            sequence=self.sequence,
        )

    def as_json(self) -> dict[str, Any]:
        """The record as JSON: `data` as JSON where it is, else in base64 as `data_base64`."""
        shown = asdict(self)
        shown["logged_at"] = time_text(self.logged_at)
        data = shown.pop("data")
        try:
            shown["data"] = None if data is None else json.loads(data)
        except ValueError:
            shown["data_base64"] = base64.b64encode(data).decode()
        return shown


@dataclass(frozen=True, slots=True)
class Query:
    """Which records: all that is given must hold.

    `document` is an id, a version's digest or a passage's; `said` the mark of a text; `after` the
    sequence that a page goes on from.
    """

    request: str | None = None
    tenant: str | None = None
    principal: str | None = None
    data_subject: str | None = None
    event: str | None = None
    tool: str | None = None
    document: str | None = None
    policy: str | None = None
    outcome: str | None = None
    code: str | None = None
    said: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: int = 0
    until_sequence: int | None = None
    limit: int | None = None


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


class AuditReader:
    """A store to read from, with the keys to what is in it, or without."""

    def __init__(self, database: Database, keys: KeyStore | None) -> None:
        self.database = database
        self.keys = keys
        self._gone: Gone | None = None

    def select(self, query: Query) -> Iterator[Kept]:
        """The records that fit, in the order of the log, read as they are asked for.

        Raises:
            UserError: `principal` without `tenant`, or without the keys to know who that is.
        """
        conditions, parameters = self._conditions(query)
        limit = "" if query.limit is None else f" LIMIT {query.limit:d}"
        sql = f"SELECT {_COLUMNS} FROM events WHERE {' AND '.join(conditions)} ORDER BY sequence{limit}"  # noqa: S608, E501 - constants
        for row in self.database.rows(sql, parameters):
            yield self._kept(row)

    def by_request(self, request_id: str) -> list[Kept]:
        """Everything kept of one request, in the order of the log."""
        return list(self.select(Query(request=request_id)))

    def timeline(self, request_id: str) -> list[TimelineEntry]:
        """What happened to one request, when, and what followed from what."""
        records = self.by_request(request_id)
        return [_entry(record, records[0].logged_at) for record in records]

    def find(self, event: str) -> Kept | None:
        """The record of one event: by its sequence, its subject, or (slowly) its id."""
        values: tuple[Any, ...]
        if event.isdecimal():
            where, values = "sequence = ?", (int(event),)
        elif event.count(".") > 3:
            where, values = "request_id = ? AND subject = ?", (event.split(".")[3], event)
        else:
            where, values = "id = ?", (event,)
        sql = f"SELECT {_COLUMNS} FROM events WHERE {where} LIMIT 1"  # noqa: S608 - constants
        rows = self.database.execute(sql, values)
        return self._kept(rows[0]) if rows else None

    def checkpoint(self) -> str:
        """The latest signed checkpoint; raises `UserError` when there is none yet."""
        rows = self.database.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
        if not rows:
            raise UserError("the audit store has no checkpoint yet: nothing is in it")
        note: str = rows[0][0]
        return note

    def content(self, sequence: int) -> Content | None:
        """What is in the seal of a record, its salt included; None if it cannot be opened."""
        rows = self.database.execute(
            "SELECT data_subject, payload FROM events WHERE sequence = ?", (sequence,)
        )
        return self._open(sequence, *rows[0]) if rows else None

    def _conditions(self, query: Query) -> tuple[list[str], list[Any]]:
        conditions, parameters = ["sequence > ?"], [query.after]

        def add(condition: str, *values: Any) -> None:
            conditions.append(condition)
            parameters.extend(values)

        plain = {"request_id": query.request, "tenant": query.tenant}
        plain["data_subject"] = query.data_subject or self._pseudonym(query)
        for column, value in plain.items():
            if value is not None:
                add(f"{column} = ?", value)
        if query.event is not None:
            add("type LIKE ?", f"interlock.{query.event}.v%")
        if query.since is not None:
            add("logged_at >= ?", time_text(query.since))
        if query.until is not None:
            add("logged_at < ?", time_text(query.until))
        if query.until_sequence is not None:
            add("sequence <= ?", query.until_sequence)
        if query.document is not None:
            _filed(add, *(term(kind, query.document) for kind in DOCUMENT))
        for kind in ("tool", "policy", "outcome", "code", "said"):
            value = getattr(query, kind)
            if value is not None:
                _filed(add, term(kind, value))
        return conditions, parameters

    def _pseudonym(self, query: Query) -> str | None:
        if query.principal is None:
            return None
        if query.tenant is None:
            raise UserError("a principal is one of a tenant: name the tenant too")
        if self.keys is None:
            raise UserError("who a principal is stands in the key store, which is not here")
        # Nobody by that name: a pseudonym that no record has.
        return self.keys.pseudonym((query.tenant, query.principal)) or "nobody"

    def _kept(self, row: Row) -> Kept:
        (sequence, subject, type_, id_, cause, tenant, request_id, logged_at, whose, facets,
         payload) = row  # fmt: skip
        content = self._open(sequence, whose, payload)
        if content is not None:
            state: Literal["readable", "erased", "expired", "sealed"] = "readable"
        else:
            if self._gone is None:
                self._gone = Gone.of(self.database)
            state = self._gone.why(type_, tenant, request_id, logged_at, whose) or "sealed"
        return Kept(
            sequence=sequence,
            subject=subject,
            type=type_,
            id=id_,
            cause=cause,
            tenant=tenant,
            request_id=request_id,
            logged_at=datetime.fromisoformat(logged_at),
            data_subject=whose,
            facets=json.loads(facets),
            state=state,
            headers=None if content is None else json.loads(content.headers),
            data=None if content is None else content.data,
        )

    def _open(self, sequence: int, data_subject: str, payload: bytes | None) -> Content | None:
        owner = None if self.keys is None else self.keys.get(data_subject)
        if owner is None or payload is None:
            return None
        return unseal(bytes(payload), owner.key, sequence)


def _filed(add: Any, *numbers: int) -> None:
    marks = ",".join("?" * len(numbers))
    add(f"sequence IN (SELECT sequence FROM postings WHERE term IN ({marks}))", *numbers)  # noqa: S608


def _entry(record: Kept, start: datetime) -> TimelineEntry:
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
        cause=record.cause or None,
    )
