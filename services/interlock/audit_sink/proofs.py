"""Proofs for others: that a record is in the log as signed, and that the log only ever grew.

A proof is JSON, complete in itself: to check it takes the verifier key and nothing else. It may
carry the record's content, opened with its salt; who has been given it can read it for good.
"""

import base64
import json
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ConfigDict

from interlock.audit_sink.checkpoint import ORIGIN, CheckpointInvalid, open_note
from interlock.audit_sink.database import Database
from interlock.audit_sink.merkle import (
    STORED_LEVEL,
    Subtree,
    consistency_proof,
    inclusion_proof,
    root_between,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from interlock.audit_sink.query import AuditReader
from interlock.audit_sink.schema import READABLE
from interlock.audit_sink.sealing import Content, commitment_of, record_leaf, record_leaf_v1
from interlock.runtime.errors import UserError
from interlock_contracts.base import Base64, Model


class Opening(Model):
    """A record's content and the salt that shows that it is the one committed to."""

    headers: Base64
    data: Base64
    salt: Base64


class Inclusion(Model):
    """That a record is in the log: its readable columns, two hashes, the path to a signed root."""

    model_config = ConfigDict(title="interlock audit inclusion proof")

    sequence: int
    version: int
    columns: dict[str, str]
    commitment: Base64
    seal: Base64
    path: tuple[Base64, ...]
    checkpoint: str
    content: Opening | None = None


class Consistency(Model):
    """That the log of the first checkpoint is a beginning of the log of the second."""

    model_config = ConfigDict(title="interlock audit consistency proof")

    first: str
    second: str
    path: tuple[Base64, ...]


def prove_inclusion(
    reader: AuditReader,
    sequence: int,
    checkpoint: str | None = None,
    *,
    opened: bool = False,
    subtree: Subtree | None = None,
) -> Inclusion:
    """Prove that the record at `sequence` is under a checkpoint, by default the latest one.

    `subtree` is that of `subtrees`, for who proves many.

    Raises:
        UserError: there is no such record, no checkpoint covers it, or with `opened` its content
            cannot be read.
    """
    note = checkpoint or reader.checkpoint()
    size, _ = size_and_root(note)
    rows = reader.database.execute(
        f"SELECT version, {', '.join(READABLE)}, commitment, seal FROM events WHERE sequence = ?",  # noqa: S608
        (sequence,),
    )
    if not rows:
        raise UserError(f"there is no record {sequence}")
    if sequence > size:
        raise UserError(f"record {sequence} is not yet under that checkpoint of {size} records")
    version, *texts = rows[0][:-2]
    content = reader.content(sequence) if opened or version == 1 else None
    if opened and content is None:
        raise UserError(f"the content of record {sequence} cannot be read any more, or not here")
    path = inclusion_proof(subtree or subtrees(reader.database), sequence - 1, size)
    return Inclusion(
        sequence=sequence,
        version=version,
        columns=dict(zip(READABLE, texts, strict=True)),
        commitment=_encoded(rows[0][-2]),
        seal=_encoded(rows[0][-1]),
        path=tuple(map(_encoded, path)),
        checkpoint=note,
        content=None if content is None else _opening(content),
    )


def prove_consistency(reader: AuditReader, first: str, second: str | None = None) -> Consistency:
    """Prove that the log only grew from one checkpoint to another, by default the latest.

    Raises:
        UserError: the first is of a longer log than the second, or the store does not hold as much.
    """
    later = second or reader.checkpoint()
    old, size = size_and_root(first)[0], size_and_root(later)[0]
    if not 0 < old <= size:
        raise UserError(f"a log of {old} records cannot have grown to {size}")
    path = consistency_proof(subtrees(reader.database), old, size)
    return Consistency(first=first, second=later, path=tuple(map(_encoded, path)))


def check_inclusion(proof: Inclusion, key: Ed25519PublicKey, origin: str = ORIGIN) -> str | None:
    """What is wrong with an inclusion proof; None if it holds. Needs nothing but the key."""
    try:
        signed = open_note(proof.checkpoint, key, origin)
    except CheckpointInvalid as error:
        return str(error)
    if set(proof.columns) != set(READABLE):
        return "columns are missing"
    texts = [proof.columns[name].encode("utf-8", "surrogateescape") for name in READABLE]
    opened = proof.content
    content = None if opened is None else Content(opened.headers, opened.data, opened.salt)
    if proof.version == 1:
        if content is None:
            return "a record from before contents were sealed is proven with its content only"
        covered = [texts[i] for i in (0, 1, 2, 4, 5, 6)]
        leaf = record_leaf_v1(proof.sequence, covered, content.headers, content.data)
    else:
        leaf = record_leaf(proof.sequence, texts, proof.commitment, proof.seal)
        if content is not None and commitment_of(content) != proof.commitment:
            return "the content is not the one that was recorded"
    if not verify_inclusion(leaf, proof.sequence - 1, signed.size, proof.path, signed.root):
        return "the record is not in the log under that checkpoint"
    return None


def check_consistency(
    proof: Consistency, key: Ed25519PublicKey, origin: str = ORIGIN
) -> str | None:
    """What is wrong with a consistency proof; None if it holds. Needs nothing but the key."""
    try:
        old, new = (open_note(note, key, origin) for note in (proof.first, proof.second))
    except CheckpointInvalid as error:
        return str(error)
    if not verify_consistency(old.size, new.size, old.root, new.root, proof.path):
        return f"the log of {old.size} records is no beginning of that of {new.size}"
    return None


def size_and_root(note: str) -> tuple[int, bytes]:
    """What a checkpoint says, unchecked; raises `UserError` where it says nothing."""
    lines = note.splitlines()
    try:
        return int(lines[1]), base64.b64decode(lines[2], validate=True)
    except (IndexError, ValueError):
        raise UserError("that is no checkpoint") from None


def read_proof(text: str) -> Inclusion | Consistency:
    """A proof from its JSON; raises `UserError`."""
    try:
        kind = Consistency if "first" in json.loads(text) else Inclusion
        return kind.model_validate_json(text)
    except (ValueError, TypeError):
        raise UserError("that is no proof: `interlock audit prove` prints them") from None


def subtrees(database: Database) -> Subtree:
    """Roots over any of the leaves; neighbouring ones share what was read and computed."""

    @lru_cache(maxsize=8)
    def block(number: int) -> list[bytes]:
        first = number << STORED_LEVEL
        sql = "SELECT leaf FROM events WHERE sequence > ? AND sequence <= ? ORDER BY sequence"
        rows = database.execute(sql, (first, first + (1 << STORED_LEVEL)))
        return [bytes(leaf) for (leaf,) in rows]

    def leaves(first: int, last: int) -> bytes:
        number = first >> STORED_LEVEL
        start = number << STORED_LEVEL
        found = block(number)[first - start : last - start]
        if len(found) != last - first:
            raise UserError(f"records {first + 1}–{last} are not all here: interlock audit verify")
        return root_of(found)

    def stored(level: int, number: int) -> bytes | None:
        sql = "SELECT hash FROM nodes WHERE level = ? AND idx = ?"
        rows = database.execute(sql, (level, number))
        return bytes(rows[0][0]) if rows else None

    @lru_cache(maxsize=2048)
    def between(first: int, last: int) -> bytes:
        return root_between(first, last, stored, leaves)

    return between


def _opening(content: Content) -> Opening:
    parts = (content.headers, content.data, content.salt)
    headers, data, salt = map(_encoded, parts)
    return Opening(headers=headers, data=data, salt=salt)


def _encoded(data: bytes) -> bytes:
    """As a `Base64` field is given."""
    return base64.b64encode(data)
