"""The documents of the log as they stand now, in a file; made of the log, and only of it.

One SQLite file below the installation's state holds the newest version of every document, up to
a position on the log. Any number of processes may bring it up to date at the same time: what is
applied twice changes nothing, and what is older than what stands is passed over. Deleting the
file loses nothing.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interlock.bundles.model import Bundle
from interlock.retriever.documents import (
    PASSAGE_FIELDS,
    Passage,
    chunker_identity,
    cut,
    indexed,
    passage_values,
)
from interlock.retriever.engines.index import passage
from interlock.retriever.generations.content import line_of
from interlock.runtime.embedding import Vectors
from interlock_contracts import documents as logged
from interlock_contracts.canonical import digest_bytes

FILE = "documents-2.sqlite"
"""Its name says the layout: another layout is another file, made of the log again."""

_LAYOUT = """
CREATE TABLE IF NOT EXISTS documents (
    document_id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    source TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT,
    about TEXT,
    text TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    document_id TEXT, version INTEGER, part INTEGER, text TEXT NOT NULL,
    PRIMARY KEY (document_id, version, part)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passages (
    document_id TEXT, chunker TEXT, version TEXT NOT NULL, line TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (document_id, chunker)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (
    embedder TEXT, text TEXT, vector BLOB NOT NULL, PRIMARY KEY (embedder, text)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS position (
    only INTEGER PRIMARY KEY CHECK (only = 0), sequence INTEGER NOT NULL, subject TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS erasures (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    sequence INTEGER NOT NULL, count INTEGER NOT NULL, scrubbed INTEGER NOT NULL
);
INSERT OR IGNORE INTO erasures VALUES (0, 0, 0, 0);
"""


@dataclass(frozen=True, slots=True)
class Position:
    """The last message that was applied."""

    sequence: int = 0
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """One message of the log: its address, and the event unless it could not be read."""

    sequence: int
    subject: str
    event: logged.DocumentEvent | None


class Corpus:
    """The documents of the log. A connection per call: any thread may use it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        # One of an earlier layout is read no more, and may hold what is erased later.
        for other in folder.glob("documents-*.sqlite*"):
            if not other.name.startswith(FILE):
                other.unlink(missing_ok=True)
        with self.writing() as connection:
            connection.executescript(_LAYOUT)

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """A connection to the file."""
        with closing(sqlite3.connect(self._path, timeout=60, isolation_level=None)) as connection:
            # What a power cut takes is read from the log again.
            connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction: all of it, or nothing."""
        with self.opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def position(self) -> Position:
        """How far along the log it is."""
        with self.opened() as connection:
            row = connection.execute("SELECT sequence, subject FROM position").fetchone()
        return Position(*row) if row else Position()

    def clear(self) -> None:
        """Forget everything: the log is another one, or all is to be made again."""
        with self.writing() as connection:
            for table in ("documents", "parts", "passages", "position"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608  # the names above
            # The count goes on: what was made of the other log is no younger than what comes.
            connection.execute("UPDATE erasures SET sequence = 0")

    def mend(self, other: "Corpus") -> None:
        """Have everything be as in `other`, up to its position; all of it at one moment.

        What is newer here stays: no reader ever sees the documents go back.
        """
        upto = other.position().sequence
        with self.opened() as connection:
            connection.execute("ATTACH ? AS other", (str(other._path),))
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM documents WHERE sequence <= ?", (upto,))
            connection.execute("INSERT OR IGNORE INTO documents SELECT * FROM other.documents")
            connection.execute("DELETE FROM passages")
            (erased,) = connection.execute("SELECT sequence FROM other.erasures").fetchone()
            _note_erasure(connection, erased)
            connection.commit()

    def apply(self, messages: Sequence[Applied]) -> None:
        """Apply messages in the order of the log, all or none."""
        with self.writing() as connection:
            for message in messages:
                if message.event is not None:
                    _apply(connection, message.sequence, message.event)
            last = messages[-1]
            connection.execute(
                "INSERT INTO position VALUES (0, ?, ?) ON CONFLICT (only) DO UPDATE "
                "SET sequence = excluded.sequence, subject = excluded.subject "
                "WHERE excluded.sequence > sequence",
                (last.sequence, last.subject),
            )

    def erasures(self) -> int:
        """How many erasures were read: what was made when it was less may hold erased words."""
        with self.opened() as connection:
            (count,) = connection.execute("SELECT count FROM erasures").fetchone()
        return int(count)

    def passages(self) -> list[Passage]:
        """The passages of all documents that stand, in every way they were cut."""
        with self.opened() as connection:
            bodies = connection.execute("SELECT body FROM passages").fetchall()
        return [_passage(values) for (body,) in bodies for values in json.loads(body)]

    def unscrubbed(self) -> bool:
        """Whether an erasure was read that `forget` has not followed yet."""
        with self.opened() as connection:
            row = connection.execute("SELECT count > scrubbed FROM erasures").fetchone()
        return bool(row[0])

    def count(self) -> dict[tuple[str, str], int]:
        """How many documents stand, by tenant and source."""
        with self.opened() as connection:
            rows = connection.execute(
                "SELECT tenant, source, count(*) FROM documents WHERE digest IS NOT NULL "
                "GROUP BY tenant, source ORDER BY tenant, source"
            )
            return {(tenant, source): number for tenant, source, number in rows}

    def lines(self, bundle: Bundle) -> tuple[set[str], dict[str, str]]:
        """The ids of all documents the log has a word about, the removed ones included, and the
        lines (`content`) of those that stand and are of the bundle's sources and have a text:
        both as of one position.

        Documents are cut when they are first asked for in this version and in this way.
        """
        with self.writing() as connection:
            for name, source in bundle.sources.items():
                chunker = chunker_identity(source)
                missing = connection.execute(
                    "SELECT about, digest, d.text FROM documents d LEFT JOIN passages p "
                    "ON p.document_id = d.document_id AND p.chunker = ? AND p.version = d.digest "
                    "WHERE source = ? AND digest IS NOT NULL AND p.version IS NULL",
                    (chunker, name),
                )
                for about, digest, text in missing.fetchall():
                    said = logged.Document.model_validate_json(about)
                    passages = list(cut(indexed(said, digest, text, source), source))
                    body = json.dumps(list(map(passage_values, passages)), ensure_ascii=False)
                    line = line_of(passages) if passages else ""
                    connection.execute(
                        "INSERT OR REPLACE INTO passages VALUES (?, ?, ?, ?, ?)",
                        (said.document_id, chunker, digest, line, body),
                    )
            found: dict[str, str] = {}
            for name, source in bundle.sources.items():
                found |= connection.execute(
                    "SELECT document_id, line FROM passages p JOIN documents d USING (document_id) "
                    "WHERE source = ? AND chunker = ? AND p.version = d.digest AND line != ''",
                    (name, chunker_identity(source)),
                ).fetchall()
            known = {row[0] for row in connection.execute("SELECT document_id FROM documents")}
        return known, found

    def read(self, bundle: Bundle, names: Iterable[str]) -> Iterator[list[Passage]]:
        """The passages of each of these documents, as `bundle` cuts them; of those that stand."""
        chunkers = {name: chunker_identity(source) for name, source in bundle.sources.items()}
        with self.opened() as connection:
            for name in names:
                chunker = chunkers.get(name.split("/", 2)[1])
                row = connection.execute(
                    "SELECT body FROM passages WHERE document_id = ? AND chunker = ?",
                    (name, chunker),
                ).fetchone()
                yield [_passage(values) for values in json.loads(row[0])] if row else []

    def vectors(self, embedder: str, texts: Collection[str]) -> dict[str, Vectors]:
        """The vectors of texts that were embedded before, by the digests of the texts."""
        found: dict[str, Vectors] = {}
        with self.opened() as connection:
            for text in texts:
                row = connection.execute(
                    "SELECT vector FROM vectors WHERE embedder = ? AND text = ?", (embedder, text)
                ).fetchone()
                if row is not None:
                    found[text] = np.frombuffer(row[0], np.float32)
        return found

    def remember(self, embedder: str, vectors: Iterable[tuple[str, Vectors]]) -> None:
        """Keep vectors for the next time."""
        rows = [(embedder, text, vector.tobytes()) for text, vector in vectors]
        with self.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)


def text_name(text: str) -> str:
    """What the vector of a text is kept under."""
    return digest_bytes(text.encode())[7:]


def _note_erasure(connection: sqlite3.Connection, sequence: int) -> None:
    """Count an erasure; one that was read before changes nothing."""
    connection.execute(
        "UPDATE erasures SET count = count + 1, sequence = ? WHERE sequence < ?",
        (sequence, sequence),
    )


def _apply(connection: sqlite3.Connection, sequence: int, event: logged.DocumentEvent) -> None:
    """Have this be the newest version: unless a newer one is, or a part is still missing."""
    name = event.document_id
    if event.erased:
        _note_erasure(connection, sequence)
    row = connection.execute(
        "SELECT sequence FROM documents WHERE document_id = ?", (name,)
    ).fetchone()
    if row is not None and row[0] >= sequence:
        return
    text = event.text
    if event.parts > 1:
        whole = _joined(connection, event)
        if whole is None:
            return
        text = whole
    about = None if event.removed else event.document.model_dump_json()
    connection.execute(
        "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (name, event.tenant, event.source, sequence, event.version, event.digest, about, text),
    )
    for table in ("parts", "passages"):
        connection.execute(f"DELETE FROM {table} WHERE document_id = ?", (name,))  # noqa: S608  # the names above


def _joined(connection: sqlite3.Connection, event: logged.DocumentEvent) -> str | None:
    """The whole text once all parts are there; they are kept until then."""
    connection.execute(
        "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)",
        (event.document_id, event.version, event.part, event.text),
    )
    rows = connection.execute(
        "SELECT text FROM parts WHERE document_id = ? AND version = ? ORDER BY part",
        (event.document_id, event.version),
    ).fetchall()
    return "".join(row[0] for row in rows) if len(rows) == event.parts else None


def _passage(values: Sequence[Any]) -> Passage:
    given = dict(zip(PASSAGE_FIELDS, values, strict=True))
    return passage(given)
