"""The audit store: one append-only SQLite file, under a signed Merkle tree.

Record n of the stream (sequence n) is leaf n - 1 of the tree, so the tree covers the records from
1 up to the first one that is missing. Every transaction that lengthens this prefix signs a new
checkpoint inside itself: a stored record that no checkpoint covers was not put there by us, unless
it waits for an earlier one.
"""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.audit_sink.checkpoint import ORIGIN, Checkpoint, open_note, sign
from interlock.audit_sink.merkle import HASH_BYTES, CompactRange
from interlock.audit_sink.stage import AuditRecord

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  sequence INTEGER PRIMARY KEY, subject TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
  tenant TEXT NOT NULL, request_id TEXT NOT NULL, logged_at TEXT NOT NULL,
  headers TEXT NOT NULL, leaf BLOB NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_request ON events (request_id);
CREATE INDEX IF NOT EXISTS events_by_tenant ON events (tenant);
CREATE TABLE IF NOT EXISTS checkpoints (
  size INTEGER PRIMARY KEY, note TEXT NOT NULL, subtrees BLOB NOT NULL
) STRICT;
"""

# The triggers stop mistakes and honest tools; who can drop them is caught by the tree. INSERT
# needs one too: INSERT OR REPLACE deletes without firing the trigger for DELETE.
_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS {table}_no_update BEFORE UPDATE ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
CREATE TRIGGER IF NOT EXISTS {table}_no_delete BEFORE DELETE ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
CREATE TRIGGER IF NOT EXISTS {table}_no_replace BEFORE INSERT ON {table}
WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key})
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
"""

_SETTINGS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA busy_timeout = 5000;
PRAGMA wal_autocheckpoint = 8000;
"""


class AuditError(Exception):
    """The store cannot be trusted, or was asked for what it must not do."""


class SequenceConflict(AuditError):
    """Another record stands at these sequences already: nothing of the batch was stored."""

    def __init__(self, sequences: frozenset[int]) -> None:
        super().__init__(
            f"other records stand at sequence {', '.join(map(str, sorted(sequences)))}"
        )
        self.sequences = sequences


class AuditStore:
    """Appends records durably. Use it from one thread at a time; processes may share the file."""

    def __init__(self, path: Path, key: Ed25519PrivateKey, origin: str = ORIGIN) -> None:
        """Open the store, made when it is not there.

        Raises:
            CheckpointInvalid: its last checkpoint was not signed by this key.
            AuditError: its last checkpoint does not fit its tree.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._key = key
        self._origin = origin
        self._tree = CompactRange()
        self._waiting: dict[int, bytes] = {}
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._connection.executescript(_SETTINGS + _SCHEMA)
            for table, column in (("events", "sequence"), ("checkpoints", "size")):
                self._connection.executescript(_TRIGGER.format(table=table, key=column))
            self._load()
        except BaseException:
            self._connection.close()
            raise

    @property
    def checkpoint(self) -> Checkpoint:
        """Size and root of the tree as of the last append."""
        return Checkpoint(self._tree.size, self._tree.root())

    @property
    def missing(self) -> int:
        """The first sequence that is not stored, while later ones are; 0 when there is no gap."""
        return self._tree.size + 1 if self._waiting else 0

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def append(self, records: Sequence[AuditRecord]) -> None:
        """Store a batch in one transaction; when this returns, it is on disk.

        A record that is stored already is passed over, so a redelivery does no harm.

        Raises:
            SequenceConflict: a different record stands at a sequence of the batch.
            sqlite3.Error: nothing was stored.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if self._last_size() != self._tree.size:  # another process has appended
                self._load()
            new = self._new_among(records)
            self._connection.executemany(
                "INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)",
                [record.stored for record in new.values()],
            )
            tree, waiting = self._grown({n: record.leaf for n, record in new.items()})
            if tree.size > self._tree.size:
                note = sign(Checkpoint(tree.size, tree.root()), self._key, self._origin)
                self._connection.execute(
                    "INSERT INTO checkpoints VALUES (?,?,?)",
                    (tree.size, note, b"".join(tree.hashes)),
                )
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._tree, self._waiting = tree, waiting

    def _new_among(self, records: Sequence[AuditRecord]) -> dict[int, AuditRecord]:
        """The records that are not stored yet, by sequence; raises `SequenceConflict`."""
        numbers = json.dumps([record.sequence for record in records])
        stored: dict[int, bytes] = dict(
            self._connection.execute(
                "SELECT sequence, leaf FROM events "
                "WHERE sequence IN (SELECT value FROM json_each(?))",
                (numbers,),
            )
        )
        new: dict[int, AuditRecord] = {}
        conflicts: set[int] = set()
        for record in records:
            known = stored.get(record.sequence)
            if known is None:
                stored[record.sequence] = record.leaf
                new[record.sequence] = record
            elif known != record.leaf:
                conflicts.add(record.sequence)
        if conflicts:
            raise SequenceConflict(frozenset(conflicts))
        return new

    def _grown(self, leaves: dict[int, bytes]) -> tuple[CompactRange, dict[int, bytes]]:
        """The tree with all that can be added to it now, and what must wait for a gap to fill."""
        tree = CompactRange(self._tree.size, self._tree.hashes)
        waiting = {**self._waiting, **leaves}
        while (leaf := waiting.pop(tree.size + 1, None)) is not None:
            tree.append(leaf)
        return tree, waiting

    def _last_size(self) -> int:
        row = self._connection.execute("SELECT max(size) FROM checkpoints").fetchone()
        return int(row[0] or 0)

    def _load(self) -> None:
        """Take up the tree where the last checkpoint left it; the records are not read."""
        row = self._connection.execute(
            "SELECT note, subtrees FROM checkpoints ORDER BY size DESC LIMIT 1"
        ).fetchone()
        tree = CompactRange()
        if row is not None:
            signed = open_note(row[0], self._key.public_key(), self._origin)
            hashes = [row[1][i : i + HASH_BYTES] for i in range(0, len(row[1]), HASH_BYTES)]
            if len(hashes) != signed.size.bit_count():
                raise AuditError("the last checkpoint does not fit its tree")
            tree = CompactRange(signed.size, hashes)
            if tree.root() != signed.root:
                raise AuditError("the last checkpoint does not fit its tree")
        waiting: dict[int, bytes] = dict(
            self._connection.execute(
                "SELECT sequence, leaf FROM events WHERE sequence > ?", (tree.size,)
            )
        )
        if tree.size + 1 in waiting:
            raise AuditError(f"record {tree.size + 1} is stored, but no checkpoint covers it")
        self._tree, self._waiting = tree, waiting
