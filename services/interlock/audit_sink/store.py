"""The audit store: append-only records under a signed Merkle tree.

Record n of the stream (sequence n) is leaf n - 1 of the tree, so the tree covers the records from
1 up to the first one that is missing. Every transaction that lengthens this prefix signs a new
checkpoint inside itself: a stored record that no checkpoint covers was not put there by us, unless
it waits for an earlier one.
"""

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.audit_sink.checkpoint import ORIGIN, Checkpoint, open_note, sign
from interlock.audit_sink.database import Database, Row
from interlock.audit_sink.errors import AuditError, SequenceConflict
from interlock.audit_sink.ingest import (
    INSERT_EVENT,
    INSERT_POSTING,
    Ingest,
    by_sequence,
    same_content,
)
from interlock.audit_sink.keys import KeyStore
from interlock.audit_sink.merkle import HASH_BYTES, CompactRange, Node
from interlock.audit_sink.schema import prepare_audit
from interlock.audit_sink.sealing import unseal
from interlock.audit_sink.stage import AuditRecord, time_text
from interlock.audit_sink.upgrade import upgrade_from_1


class AuditStore:
    """Appends records durably. Use it from one thread at a time; processes may share the store."""

    def __init__(
        self, database: Database, keys: KeyStore, key: Ed25519PrivateKey, origin: str = ORIGIN
    ) -> None:
        """Open the store, made when it is not there, brought up to date when it is older.

        `keys` seal the contents, `key` signs the checkpoints. Both are closed with the store.

        Raises:
            CheckpointInvalid: its last checkpoint was not signed by this key.
            AuditError: its last checkpoint does not fit its tree.
        """
        self._database = database
        self._keys = keys
        self._key = key
        self._origin = origin
        self._tree = CompactRange()
        self._waiting: dict[int, bytes] = {}
        self._ingest = Ingest(database, keys)
        try:
            prepare_audit(database, lambda: upgrade_from_1(database, self._ingest))
            self._load()
        except BaseException:
            self.close()
            raise

    @property
    def checkpoint(self) -> Checkpoint:
        """Size and root of the tree as of the last append."""
        return Checkpoint(self._tree.size, self._tree.root())

    @property
    def missing(self) -> range:
        """The sequences that are not stored, before the first one that waits for them."""
        first = self._tree.size + 1
        return range(first, min(self._waiting, default=first))

    def close(self) -> None:
        """Close the databases."""
        self._database.close()
        self._keys.close()

    def append(self, records: Sequence[AuditRecord]) -> None:
        """Store a batch in one transaction; when this returns, it is on disk.

        A record that is stored already is passed over, so a redelivery does no harm.

        Raises:
            SequenceConflict: a different record stands at a sequence of the batch.
            DatabaseError: nothing was stored.
        """
        self._keys.refresh()
        with self._database.transaction():
            if self._last_size() != self._tree.size:  # another process has appended
                self._load()
            new = self._ingest.rows(self._new_among(records))
            self._database.many(INSERT_EVENT, new.events)
            self._database.many(INSERT_POSTING, new.postings)
            tree, waiting, nodes = self._grown(new.leaves)
            self._database.many("INSERT INTO nodes VALUES (?,?,?)", nodes)
            if tree.size > self._tree.size:
                self._insert_checkpoint(tree)
        self._tree, self._waiting = tree, waiting

    def _insert_checkpoint(self, tree: CompactRange) -> None:
        note = sign(Checkpoint(tree.size, tree.root()), self._key, self._origin)
        self._database.execute(
            "INSERT INTO checkpoints VALUES (?,?,?)", (tree.size, note, b"".join(tree.hashes))
        )

    def _new_among(self, records: Sequence[AuditRecord]) -> list[AuditRecord]:
        """The records that are not stored yet, in order; raises `SequenceConflict`."""
        new: dict[int, AuditRecord] = {}
        conflicts: set[int] = set()
        for record in by_sequence(records):
            at = record.sequence
            if at in new:
                same = new[at] == record
            elif at <= self._tree.size or at in self._waiting:
                same = self._stands(record)
            else:
                new[at] = record
                continue
            if not same:
                conflicts.add(at)
        if conflicts:
            raise SequenceConflict(frozenset(conflicts))
        return list(new.values())

    def _stands(self, record: AuditRecord) -> bool:
        """Whether it is this record that is stored; as far as that can still be told."""
        rows = self._database.execute(
            "SELECT subject, logged_at, data_subject, payload FROM events WHERE sequence = ?",
            (record.sequence,),
        )
        subject, logged_at, pseudonym, payload = rows[0]
        if (subject, logged_at) != (record.subject, time_text(record.logged_at)):
            return False
        owner = self._keys.get(pseudonym)
        if owner is None or payload is None:
            return True
        content = unseal(bytes(payload), owner.key, record.sequence)
        return content is not None and same_content(record, content.headers, content.data)

    def _grown(self, leaves: dict[int, bytes]) -> tuple[CompactRange, dict[int, bytes], list[Row]]:
        """The tree with all that can be added now, what waits for a gap, and full subtrees."""
        tree = CompactRange(self._tree.size, self._tree.hashes)
        waiting = {**self._waiting, **leaves}
        nodes: list[Node] = []
        while (leaf := waiting.pop(tree.size + 1, None)) is not None:
            nodes += tree.append(leaf)
        return tree, waiting, list(nodes)

    def _last_size(self) -> int:
        row = self._database.execute("SELECT max(size) FROM checkpoints")[0]
        return int(row[0] or 0)

    def _load(self) -> None:
        """Take up the tree where the last checkpoint left it; the records are not read."""
        rows = self._database.execute(
            "SELECT note, subtrees FROM checkpoints ORDER BY size DESC LIMIT 1"
        )
        tree = CompactRange()
        if rows:
            note, subtrees = rows[0][0], bytes(rows[0][1])
            signed = open_note(note, self._key.public_key(), self._origin)
            hashes = [subtrees[i : i + HASH_BYTES] for i in range(0, len(subtrees), HASH_BYTES)]
            if len(hashes) != signed.size.bit_count():
                raise AuditError("the last checkpoint does not fit its tree")
            tree = CompactRange(signed.size, hashes)
            if tree.root() != signed.root:
                raise AuditError("the last checkpoint does not fit its tree")
        waiting: dict[int, bytes] = {
            sequence: bytes(leaf)
            for sequence, leaf in self._database.execute(
                "SELECT sequence, leaf FROM events WHERE sequence > ?", (tree.size,)
            )
        }
        if tree.size + 1 in waiting:
            raise AuditError(f"record {tree.size + 1} is stored, but no checkpoint covers it")
        self._tree, self._waiting = tree, waiting
