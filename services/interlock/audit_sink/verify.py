"""Verification: everything is computed again from the records, nothing is taken on trust.

What is checked: every record against its leaf hash (so a changed or moved record is named); the
sequences, which on a single stream run from 1 without a gap; the root over all leaves against
every signed checkpoint; and that a checkpoint covers every record, since the sink signs in the same
transaction. What the file alone cannot show is that its whole tail was cut off, checkpoints
included: for that, keep a checkpoint elsewhere and pass it as `witness`.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.audit_sink.checkpoint import ORIGIN, CheckpointInvalid, open_note
from interlock.audit_sink.merkle import CompactRange
from interlock.audit_sink.query import reading
from interlock.audit_sink.stage import LOST, record_leaf
from interlock_contracts.base import Model

FindingKind = Literal[
    "changed",
    "dropped",
    "missing",
    "not_as_signed",
    "not_signed",
    "checkpoint_invalid",
    "unreadable",
]


class Finding(Model):
    """One thing that is wrong, with the records it concerns (`first` to `last`, inclusive)."""

    kind: FindingKind
    first: int
    last: int
    message: str


class Report(Model):
    """What a verification found.

    `covered` records, from the first, agree with a signed checkpoint; `root` (hex) is theirs.
    `lost` are sequences whose loss the sink itself recorded.
    """

    events: int
    checkpoints: int
    covered: int
    root: str
    lost: tuple[int, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(
    path: Path, key: Ed25519PublicKey, *, origin: str = ORIGIN, witness: str | None = None
) -> Report:
    """Check an audit store against the public key that signed it.

    `witness` is a checkpoint (the note) of this store that was kept elsewhere.

    Raises:
        UserError: there is no such file.
    """
    check = _Verification(key, origin)
    if witness is not None:
        check.expect(witness, "the witness")
    with reading(path) as connection:
        connection.text_factory = bytes  # columns are hashed as stored, whatever is in them
        try:
            connection.execute("BEGIN")  # one snapshot, while the sink goes on writing
            for (note,) in connection.execute("SELECT note FROM checkpoints ORDER BY size"):
                check.expect(bytes(note).decode("utf-8", "replace"), "a checkpoint")
                check.checkpoints += 1
            for row in _rows(connection):
                check.record(row)
        except (sqlite3.DatabaseError, TypeError) as error:
            check.find("unreadable", check.next, check.next, f"not readable: {error}")
    return check.report()


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    return connection.execute(
        "SELECT sequence, leaf, data, subject, type, id, tenant, request_id, logged_at, headers "
        "FROM events ORDER BY sequence"
    )


class _Verification:
    """What is known so far, going through the records in order."""

    def __init__(self, key: Ed25519PublicKey, origin: str) -> None:
        self.next = 1
        self.checkpoints = 0
        self._key = key
        self._origin = origin
        self._roots: dict[int, set[bytes]] = {}
        self._tree = CompactRange()
        self._events = 0
        self._covered = 0
        self._root = self._tree.root()
        self._whole = True
        self._as_signed = True
        self._lost: list[int] = []
        self._findings: list[Finding] = []

    def find(self, kind: FindingKind, first: int, last: int, message: str) -> None:
        """Note one thing that is wrong."""
        self._findings.append(Finding(kind=kind, first=first, last=last, message=message))

    def expect(self, note: str, what: str) -> None:
        """Take in a signed checkpoint."""
        try:
            signed = open_note(note, self._key, self._origin)
        except CheckpointInvalid as error:
            self.find("checkpoint_invalid", 0, 0, f"{what}: {error}")
        else:
            self._roots.setdefault(signed.size, set()).add(signed.root)

    def record(self, row: tuple[Any, ...]) -> None:
        """Take in the next record."""
        sequence, leaf, data, *texts = row
        self._events += 1
        if sequence < 1:
            self.find("not_signed", sequence, sequence, f"no record has the number {sequence}")
            return
        if sequence != self.next:
            self._gap(self.next, sequence - 1)
        if record_leaf(sequence, texts, data) != leaf:
            self.find("changed", sequence, sequence, f"record {sequence} is not what was logged")
        if texts[1] == LOST.encode():
            self._lost.append(sequence)
        self.next = sequence + 1
        if self._whole:
            self._tree.append(leaf)
            self._compare()

    def _compare(self) -> None:
        roots = self._roots.get(self._tree.size)
        if roots is None or not self._as_signed:
            return
        if roots == {self._tree.root()}:
            self._covered, self._root = self._tree.size, self._tree.root()
            return
        self._as_signed = False
        first, last = self._covered + 1, self._tree.size
        self.find("not_as_signed", first, last, f"records {first}–{last} are not those signed")

    def _gap(self, first: int, last: int) -> None:
        self._whole = False
        if first <= max(self._roots, default=0):
            self.find("dropped", first, last, f"records {first}–{last} were signed and are gone")
        else:
            self.find("missing", first, last, f"records {first}–{last} were never stored")

    def report(self) -> Report:
        """The result, after the last record."""
        signed = max(self._roots, default=0)
        if self.next <= signed:
            self._gap(self.next, signed)
        elif self._whole and self._tree.size > signed:
            first, last = signed + 1, self._tree.size
            self.find("not_signed", first, last, f"records {first}–{last} were never signed")
        return Report(
            events=self._events,
            checkpoints=self.checkpoints,
            covered=self._covered,
            root=self._root.hex(),
            lost=tuple(self._lost),
            findings=tuple(self._findings),
        )
