"""Whether a case is on record: for each of its messages, that the audit tree has exactly it.

A proof leaves out the content, which is the message itself, but for the salt that opens the
record's commitment. What proofs do not say is that nothing was left out of the case.
"""

import base64
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from interlock.audit_sink.proofs import (
    Inclusion,
    Opening,
    check_inclusion,
    prove_inclusion,
    size_and_root,
    subtrees,
)
from interlock.audit_sink.query import AuditReader
from interlock.audit_sink.stage import Message, decide, headers_text, time_text
from interlock.replay.message import LogMessage
from interlock.runtime.errors import UserError
from interlock_contracts.base import Base64, Model


class Proven(Model):
    """That one message of a case is in the log: its record without content, and its salt."""

    record: Inclusion
    salt: Base64


def prove(reader: AuditReader, messages: Sequence[LogMessage]) -> tuple[Proven, ...]:
    """Proofs of all messages, under the latest checkpoint.

    Raises:
        UserError: one of them is not under it yet, or its content was erased.
    """
    note, subtree = reader.checkpoint(), subtrees(reader.database)
    found = []
    for message in messages:
        proof = prove_inclusion(reader, message.sequence, note, opened=True, subtree=subtree)
        assert proof.content is not None
        salt = base64.b64encode(proof.content.salt)
        found.append(Proven(record=proof.model_copy(update={"content": None}), salt=salt))
    return tuple(found)


def check(
    messages: Sequence[LogMessage], proofs: Sequence[Proven], key: Ed25519PublicKey
) -> list[str]:
    """What is wrong, message by message; empty: each is in the log as it stands in the case."""
    by_sequence = {one.record.sequence: one for one in proofs}
    found = []
    for message in messages:
        proof = by_sequence.get(message.sequence)
        wrong = "there is no proof of it" if proof is None else _wrong(message, proof, key)
        if wrong is not None:
            found.append(f"{message.subject} (record {message.sequence}): {wrong}")
    return found


def covered(proofs: Sequence[Proven]) -> int:
    """How many records the checkpoint of the proofs covers; raises `UserError`."""
    return size_and_root(proofs[0].record.checkpoint)[0] if proofs else 0


def written(proofs: Sequence[Proven]) -> bytes:
    """Proofs as a case carries them: one JSON object a line."""
    return "".join(f"{one.model_dump_json()}\n" for one in proofs).encode()


def read_proofs(lines: bytes) -> tuple[Proven, ...]:
    """What `written` wrote; raises `UserError`."""
    try:
        return tuple(Proven.model_validate_json(line) for line in lines.splitlines() if line)
    except ValidationError:
        raise UserError("the proofs of the case cannot be read") from None


def _wrong(message: LogMessage, proof: Proven, key: Ed25519PublicKey) -> str | None:
    try:
        record = decide(
            Message(
                message.subject,
                message.headers,
                message.body,
                message.sequence,
                message.logged_at,
            )
        )
    except (UserError, ValueError) as error:
        return f"it cannot be on record ({type(error).__name__})"
    columns = proof.record.columns
    said = {"subject": record.subject, "logged_at": time_text(record.logged_at)}
    other = [name for name, value in said.items() if columns.get(name) != value]
    if other:
        return f"its {' and '.join(other)} is not what was recorded"
    opening = Opening(
        headers=base64.b64encode(headers_text(record.headers).encode()),
        data=base64.b64encode(record.data),
        salt=base64.b64encode(proof.salt),
    )
    return check_inclusion(proof.record.model_copy(update={"content": opening}), key)
