"""From records to rows: whose each is, sealed, with its leaf and what it can be found by."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from interlock.audit_sink.database import Database, Row
from interlock.audit_sink.facets import Facets, principal_of, texts_of
from interlock.audit_sink.keys import (
    TENANT_ITSELF,
    DataSubject,
    KeyStore,
    Person,
    of_document,
    unread,
)
from interlock.audit_sink.sealing import Sealed, record_leaf, seal
from interlock.audit_sink.stage import AuditRecord, headers_text, time_text
from interlock_contracts.documents import DOCUMENT

INSERT_EVENT = "INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
INSERT_POSTING = "INSERT INTO postings VALUES (?,?)"

_REMEMBERED = 50_000
_GONE = Sealed(b"", hashlib.sha256(b"").digest(), b"")

_OF_THE_TENANT = frozenset({"custody", "activated", "evaluated", "keyring"})
"""Events that are about no person's request."""

_Place = tuple[str, str]
"""Tenant and request."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is inserted of one batch."""

    events: list[Row]
    postings: list[Row]
    leaves: dict[int, bytes]


def term(kind: str, value: str) -> int:
    """The number of a facet in the index: 64 bits of SHA-256."""
    hashed = hashlib.sha256(f"{kind}\0{value}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(hashed[:8], signed=True)


def terms(facets_text: str) -> set[int]:
    """The numbers of all facets of a record, from the column they are kept in."""
    facets: dict[str, list[str]] = json.loads(facets_text)
    return {term(kind, value) for kind, values in facets.items() for value in values}


def same_content(record: AuditRecord, headers: bytes, data: bytes) -> bool:
    """Whether a stored content is that of the record."""
    return headers == headers_text(record.headers).encode() and data == record.data


class Ingest:
    """Finds out whose records are, and seals them. One per store."""

    def __init__(self, database: Database, keys: KeyStore) -> None:
        self._database = database
        self._keys = keys
        self._whose: OrderedDict[_Place, str] = OrderedDict()

    def rows(self, records: Sequence[AuditRecord]) -> Rows:
        """The rows of new records, in order of their sequences."""
        found = Rows([], [], {})
        owners = self._owners(records)
        for record in records:
            pseudonym, owner = owners[record.sequence]
            facets_text = _facets_text(record, owner)
            sealed = self._seal(record, owner)
            texts = (
                record.subject, record.type, record.id, record.cause, record.tenant,
                record.request_id, time_text(record.logged_at), pseudonym, facets_text,
            )  # fmt: skip
            encoded = [text.encode() for text in texts]
            leaf = record_leaf(record.sequence, encoded, sealed.commitment, sealed.seal)
            found.leaves[record.sequence] = leaf
            found.events.append(
                (record.sequence, 2, *texts, sealed.commitment, sealed.seal, leaf,
                 sealed.payload or None)
            )  # fmt: skip
            found.postings.extend((number, record.sequence) for number in terms(facets_text))
        return found

    def _seal(self, record: AuditRecord, owner: DataSubject | None) -> Sealed:
        if owner is None:  # erased before this came in: nothing of it is kept
            return _GONE
        headers = headers_text(record.headers).encode()
        return seal(headers, record.data, owner.key, record.sequence)

    def _owners(self, records: Sequence[AuditRecord]) -> dict[int, tuple[str, DataSubject | None]]:
        """Pseudonym and key by sequence; the key is None once it was destroyed."""
        named = {record.sequence: _named(record) for record in records}
        known = self._keys.of(person for person in named.values() if person is not None)
        owners: dict[int, tuple[str, DataSubject | None]] = {}
        for record in records:
            person = named[record.sequence]
            place = (record.tenant, record.request_id)
            if person is not None:
                owner = known[person]
                owners[record.sequence] = (owner.pseudonym, owner)
                if record.event == "request":
                    self._remember(place, owner.pseudonym)
                continue
            pseudonym = self._whose.get(place) or self._look_up(place, record)
            owners[record.sequence] = (pseudonym, self._keys.get(pseudonym))
        return owners

    def _look_up(self, place: _Place, record: AuditRecord) -> str:
        """Whose request it is: by what is stored of it, by what this event says, or unknown."""
        rows = self._database.execute(
            "SELECT data_subject FROM events WHERE request_id = ? AND tenant = ? "
            "AND type <> 'interlock.custody.v1' ORDER BY sequence DESC LIMIT 1",
            (record.request_id, record.tenant),
        )
        if rows:
            pseudonym: str = rows[0][0]
        else:
            name = principal_of(record.data) or unread(record.request_id)
            person = (record.tenant, name)
            pseudonym = self._keys.of([person])[person].pseudonym
        self._remember(place, pseudonym)
        return pseudonym

    def _remember(self, place: _Place, pseudonym: str) -> None:
        self._whose[place] = pseudonym
        if len(self._whose) > _REMEMBERED:
            self._whose.popitem(last=False)


def _named(record: AuditRecord) -> Person | None:
    """Whose a record is by its own word; None: whoever's the request is."""
    if not record.request_id or record.event in _OF_THE_TENANT:
        return record.tenant, TENANT_ITSELF
    if record.event == "request":
        return record.tenant, record.principal or unread(record.request_id)
    if record.event == DOCUMENT:  # and not whose versions before were: what was erased is over
        return record.tenant, of_document(record.request_id)
    return None


def _facets_text(record: AuditRecord, owner: DataSubject | None) -> str:
    facets: Facets = record.facets
    if owner is not None and record.event in ("answer", "request"):
        marks = {owner.mark(text) for text in texts_of(record.event, record.data)}
        if marks:
            facets = {**facets, "said": tuple(sorted(marks))}
    return json.dumps(facets, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def by_sequence(records: Iterable[AuditRecord]) -> list[AuditRecord]:
    """Records in the order of the log, which is that of their causes."""
    return sorted(records, key=lambda record: record.sequence)
