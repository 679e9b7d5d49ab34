"""Verification: everything is computed again from the records, nothing is taken on trust.

What is checked: every record against its leaf hash (so a changed or moved record is named), every
sealed content against the hash in that leaf; the sequences, which on a single stream run from 1
without a gap; the root over all leaves against every signed checkpoint; that a checkpoint covers
every record, since the sink signs in the same transaction; that content which is gone was erased or
expired by an order that is itself on record; and the tables that records are found by. With the
keys of the people every content is also opened and compared with what was committed to.

What the store alone cannot show is that its whole tail was cut off, checkpoints included: for that,
keep a checkpoint elsewhere and pass it as `witness`.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.audit_sink.checkpoint import ORIGIN, CheckpointInvalid, open_note
from interlock.audit_sink.database import Database, Row
from interlock.audit_sink.errors import DatabaseError
from interlock.audit_sink.gone import Gone
from interlock.audit_sink.indexes import IndexCheck
from interlock.audit_sink.keys import KeyStore
from interlock.audit_sink.merkle import CompactRange
from interlock.audit_sink.schema import AUDIT_VERSION, READABLE, version_of
from interlock.audit_sink.sealing import commitment_of, record_leaf, record_leaf_v1, unseal
from interlock.audit_sink.stage import LOST
from interlock_contracts.base import Model

FindingKind = Literal[
    "changed",
    "dropped",
    "missing",
    "withheld",
    "not_as_signed",
    "not_signed",
    "index",
    "checkpoint_invalid",
    "unreadable",
]

_COLUMNS = f"sequence, version, {', '.join(READABLE)}, commitment, seal, leaf, payload"


class Finding(Model):
    """One thing that is wrong, with the records it concerns (`first` to `last`, inclusive)."""

    kind: FindingKind
    first: int
    last: int
    message: str


class Report(Model):
    """What a verification found.

    `covered` records, from the first, agree with a signed checkpoint; `root` (hex) is theirs.
    `lost` are sequences whose loss the sink itself recorded; `gone` counts contents that were
    erased or expired by an order on record; `unopened` those of records from before contents were
    sealed, the first ones of a store, which only who has the keys can check.
    """

    events: int
    checkpoints: int
    covered: int
    root: str
    lost: tuple[int, ...]
    gone: int = 0
    unopened: int = 0
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(
    database: Database,
    key: Ed25519PublicKey,
    keys: KeyStore | None = None,
    *,
    origin: str = ORIGIN,
    witness: str | None = None,
) -> Report:
    """Check an audit store against the public key that signed it.

    `witness` is a checkpoint (the note) of this store that was kept elsewhere. Never raises for
    what the store holds.
    """
    check = _Verification(key, keys, origin)
    if witness is not None:
        check.expect(witness, "the witness")
    try:
        with database.snapshot():
            found = version_of(database)
            if found != AUDIT_VERSION:
                message = f"the store is of version {found}, not {AUDIT_VERSION}: open it once"
                check.find("unreadable", 0, 0, message)
                return check.report()
            for (note,) in database.rows("SELECT note FROM checkpoints ORDER BY size"):
                check.expect(str(note), "a checkpoint")
                check.checkpoints += 1
            check.gone = Gone.of(database)
            for row in database.rows(f"SELECT {_COLUMNS} FROM events ORDER BY sequence"):  # noqa: S608
                check.record(row)
            check.indexes(database)
    except (DatabaseError, TypeError, ValueError) as error:
        check.find("unreadable", check.next, check.next, f"not readable: {error}")
    return check.report()


class _Verification:
    """What is known so far, going through the records in order."""

    def __init__(self, key: Ed25519PublicKey, keys: KeyStore | None, origin: str) -> None:
        self.next = 1
        self.checkpoints = 0
        self.gone = Gone()
        self._key = key
        self._keys = keys
        self._origin = origin
        self._roots: dict[int, set[bytes]] = {}
        self._tree = CompactRange()
        self._index = IndexCheck()
        self._sealed = False
        self._events = self._covered = self._gone_count = self._unopened = 0
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

    def record(self, row: Row) -> None:
        """Take in the next record."""
        sequence, leaf = row[0], bytes(row[-2])
        self._events += 1
        if sequence < 1:
            self.find("not_signed", sequence, sequence, f"no record has the number {sequence}")
            return
        if sequence != self.next:
            self._gap(self.next, sequence - 1)
        for kind, what in self._wrong(row):
            self.find(kind, sequence, sequence, f"record {sequence} {what}")
        if row[3] == LOST:
            self._lost.append(sequence)
        self.next = sequence + 1
        self._index.record(sequence, row[10])
        if self._whole:
            self._index.nodes(self._tree.append(leaf))
            self._compare()

    def _wrong(self, row: Row) -> Iterator[tuple[FindingKind, str]]:
        """What is wrong with one record taken alone."""
        sequence, version, *texts = row[:-4]
        commitment, seal, leaf, payload = (None if one is None else bytes(one) for one in row[-4:])
        assert commitment is not None
        assert seal is not None
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        changed: FindingKind = "changed"
        self._sealed = self._sealed or version != 1
        as_logged = version == 2 and record_leaf(sequence, encoded, commitment, seal) == leaf
        if self._sealed and not as_logged:
            yield changed, "is not what was logged"
        elif payload is None:
            self._gone_count += 1
            if self.gone.why(*(texts[i] for i in (1, 4, 5, 6, 7))) is None:
                yield "withheld", "has lost its content, and no order to erase it is on record"
        elif hashlib.sha256(payload).digest() != seal:
            yield changed, "does not hold the content that was logged"
        elif not self._opens(sequence, version, encoded, commitment, leaf, payload):
            yield changed, "is not what was logged"

    def _opens(
        self,
        sequence: int,
        version: int,
        texts: list[bytes],
        commitment: bytes,
        leaf: bytes | None,
        payload: bytes,
    ) -> bool:
        """Whether the content is what was committed to, as far as there is a key to see."""
        owner = None if self._keys is None else self._keys.get(texts[7].decode("utf-8", "replace"))
        if owner is None:
            self._unopened += version == 1
            return True
        content = unseal(payload, owner.key, sequence)
        if content is None or commitment_of(content) != commitment:
            return False
        if version != 1:
            return True
        covered = [texts[i] for i in (0, 1, 2, 4, 5, 6)]
        return record_leaf_v1(sequence, covered, content.headers, content.data) == leaf

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

    def indexes(self, database: Database) -> None:
        """Compare the tables that records are found by with the records."""
        for sequence in self._index.wrong_postings(database):
            message = (
                f"record {sequence} is filed wrong: it is found by what it is not, or not at all"
            )
            self.find("index", sequence, sequence, message)
        for level, number in self._index.wrong_nodes(database) if self._whole else ():
            first, last = (number << level) + 1, (number + 1) << level
            message = f"the hash kept over records {first}–{last} is not theirs"
            self.find("index", first, last, message)

    def report(self) -> Report:
        """The result, after the last record."""
        signed = max(self._roots, default=0)
        if self.next <= signed:
            self._gap(self.next, signed)
        elif self._whole and self._tree.size > signed:
            first, last = signed + 1, self._tree.size
            self.find("not_signed", first, last, f"records {first}–{last} were never signed")
        facts: dict[str, Any] = {
            "events": self._events,
            "checkpoints": self.checkpoints,
            "covered": self._covered,
            "root": self._root.hex(),
            "lost": tuple(self._lost),
            "gone": self._gone_count,
            "unopened": self._unopened,
            "findings": tuple(self._findings),
        }
        return Report(**facts)
