"""The key store: one random key per person, apart from the data that it seals.

A person (a data subject) is a tenant's principal. The audit store knows it by a random pseudonym;
which pseudonym is whose stands only here, and goes with the key. Whoever comes back afterwards is
somebody new. Content that nobody is named in is sealed too: with the tenant's own key, or, where a
request cannot be read, with a key of that request. A document has a key of its own.
"""

import hmac
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.audit_sink.database import Database
from interlock.audit_sink.schema import prepare_keys
from interlock.audit_sink.stage import time_text

KEPT_IN_MEMORY = 20_000
"""How many keys a process keeps at hand."""

TENANT_ITSELF = ""
"""The name under which a tenant's own key stands."""

Person = tuple[str, str]
"""Tenant and user name."""


@dataclass(frozen=True, slots=True)
class DataSubject:
    """A pseudonym and what follows from its key: the seal, and the key of text marks."""

    pseudonym: str
    key: AESGCM
    marks: bytes

    def mark(self, text: str) -> str:
        """A name for a text by which this person's other uses of it are found; else random."""
        return hmac.digest(self.marks, text.encode("utf-8", "replace"), "sha256").hex()[:32]


def _data_subject(pseudonym: str, key: bytes) -> DataSubject:
    marks = hmac.digest(key, b"interlock.marks.v1", "sha256")
    return DataSubject(pseudonym, AESGCM(key), marks)


def unread(request_id: str) -> str:
    """The name for whoever sent a request that cannot be read; no user can have it."""
    return f"\x1frequest {request_id}"


def of_document(key: str) -> str:
    """The name under which the key of a document's versions stands; no user can have it."""
    return f"\x1fdocument {key}"


NameT = TypeVar("NameT")


class KeyStore:
    """Keys by person and by pseudonym. Use it from one thread at a time."""

    def __init__(self, database: Database, *, writable: bool = True) -> None:
        """Open the store, made when it is writable and empty."""
        self._database = database
        self._people: OrderedDict[Person, DataSubject] = OrderedDict()
        self._keys: OrderedDict[str, DataSubject] = OrderedDict()
        self._destructions = -1
        if writable:
            prepare_keys(database)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def refresh(self) -> None:
        """Forget what is remembered, if a key was destroyed meanwhile, by whatever process."""
        ((number,),) = self._database.execute("SELECT number FROM destructions")
        if number != self._destructions:
            self._people.clear()
            self._keys.clear()
            self._destructions = number

    def of(self, people: Iterable[Person]) -> dict[Person, DataSubject]:
        """The pseudonyms and keys of these people; who is new gets both, durably."""
        found: dict[Person, DataSubject] = {}
        unknown = []
        for person in dict.fromkeys(people):
            known = self._people.get(person)
            if known is None:
                unknown.append(person)
            else:
                self._people.move_to_end(person)
                found[person] = known
        if unknown:
            with self._database.transaction():
                for person in unknown:
                    found[person] = self._find(person) or self._make(person)
        for person in unknown:
            _remember(self._people, person, found[person])
        return found

    def get(self, pseudonym: str) -> DataSubject | None:
        """The key of a pseudonym; None when it was destroyed, or was never here."""
        known = self._keys.get(pseudonym)
        if known is None:
            rows = self._database.execute(
                "SELECT key FROM subjects WHERE pseudonym = ? AND key IS NOT NULL", (pseudonym,)
            )
            if not rows:
                return None
            known = _data_subject(pseudonym, bytes(rows[0][0]))
            _remember(self._keys, pseudonym, known)
        return known

    def pseudonym(self, person: Person) -> str | None:
        """The pseudonym of somebody who has one."""
        found = self._find(person)
        return None if found is None else found.pseudonym

    def name(self, pseudonym: str) -> str | None:
        """Who it is; None when that is known no more, or it is no person."""
        rows = self._database.execute(
            "SELECT name FROM subjects WHERE pseudonym = ? AND destroyed_at IS NULL", (pseudonym,)
        )
        name = rows[0][0] if rows else ""
        return name if name and not name.startswith("\x1f") else None

    def destroyed(self) -> set[str]:
        """The pseudonyms whose keys are gone."""
        rows = self._database.execute("SELECT pseudonym FROM subjects WHERE key IS NULL")
        return {pseudonym for (pseudonym,) in rows}

    def destroy(self, pseudonym: str, now: datetime) -> None:
        """Destroy a key, and whose it was. Nothing brings it back."""
        with self._database.transaction():
            self._database.execute(
                "UPDATE subjects SET key = NULL, name = NULL, destroyed_at = ? "
                "WHERE pseudonym = ? AND destroyed_at IS NULL",
                (time_text(now), pseudonym),
            )
            self._database.execute("UPDATE destructions SET number = number + 1")
        if self._database.dialect == "postgres":  # an update leaves the old row behind
            self._database.execute("VACUUM subjects")
        self.refresh()

    def _find(self, person: Person) -> DataSubject | None:
        rows = self._database.execute(
            "SELECT pseudonym, key FROM subjects "
            "WHERE tenant = ? AND name = ? AND destroyed_at IS NULL",
            person,
        )
        return _data_subject(rows[0][0], bytes(rows[0][1])) if rows else None

    def _make(self, person: Person) -> DataSubject:
        pseudonym, key = f"p{secrets.token_hex(15)}", os.urandom(32)
        self._database.execute(
            "INSERT INTO subjects VALUES (?,?,?,?,?,NULL)",
            (pseudonym, *person, key, time_text(datetime.now(UTC))),
        )
        return _data_subject(pseudonym, key)


def _remember(cache: OrderedDict[NameT, DataSubject], name: NameT, value: DataSubject) -> None:
    cache[name] = value
    if len(cache) > KEPT_IN_MEMORY:
        cache.popitem(last=False)
