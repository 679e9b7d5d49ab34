"""A case is proven only while every message of it is what the audit tree has."""

import base64
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.audit_sink.database import SqliteDatabase
from interlock.audit_sink.keys import KeyStore
from interlock.audit_sink.query import AuditReader
from interlock.audit_sink.stage import Message, decide
from interlock.audit_sink.store import AuditStore
from interlock.replay.case import read_case, write_case
from interlock.replay.message import LogMessage
from interlock.replay.proven import Proven, check, covered, prove, read_proofs, written
from interlock.runtime.errors import UserError

HISTORY = Path(__file__).parents[1] / "histories/v0.1/refund.tar.gz"
KEY = Ed25519PrivateKey.generate()
CASE = read_case(HISTORY)
MESSAGES = tuple(replace(one, sequence=number) for number, one in enumerate(CASE.messages, 1))
"""A recorded request, as if nothing else had been logged."""


@contextmanager
def recorded(folder: Path, messages: tuple[LogMessage, ...]) -> Iterator[AuditReader]:
    """An audit store that has taken these."""
    keys, audit = folder / "keys.sqlite", folder / "audit.sqlite"
    own = KeyStore(SqliteDatabase(keys, writable=True, secret=True))
    store = AuditStore(SqliteDatabase(audit, writable=True), own, KEY)
    taken = [
        Message(one.subject, one.headers, one.body, one.sequence, one.logged_at) for one in messages
    ]
    store.append([decide(one) for one in taken])
    store.close()
    opened = SqliteDatabase(keys, writable=False, secret=True)
    with (
        closing(SqliteDatabase(audit, writable=False)) as database,
        closing(KeyStore(opened, writable=False)) as known,
    ):
        yield AuditReader(database, known)


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Proven, ...]:
    """Proofs of all messages."""
    with recorded(tmp_path_factory.mktemp("audit"), MESSAGES) as reader:
        return prove(reader, MESSAGES)


def test_what_is_on_record_is_proven(proofs: tuple[Proven, ...], tmp_path: Path) -> None:
    assert check(MESSAGES, proofs, KEY.public_key()) == []
    assert covered(proofs) == len(MESSAGES)
    path = tmp_path / "case.tar.gz"
    write_case(path, MESSAGES, list(CASE.bundles.values()), proofs=written(proofs))
    again = read_case(path)
    assert read_proofs(again.proofs) == proofs
    assert check(again.messages, read_proofs(again.proofs), KEY.public_key()) == []


CHANGES: dict[str, Callable[[LogMessage], LogMessage]] = {
    "body": lambda one: replace(one, body=one.body.replace(b"refund", b"rebate", 1)),
    "one byte more": lambda one: replace(one, body=one.body + b" "),
    "header": lambda one: replace(one, headers={**one.headers, "ce-source": "/nobody"}),
    "header more": lambda one: replace(one, headers={**one.headers, "x": "y"}),
    "subject": lambda one: replace(one, subject=one.subject.replace("ev.", "xx.")),
    "time": lambda one: replace(one, logged_at=one.logged_at + timedelta(microseconds=1)),
    "place": lambda one: replace(one, sequence=one.sequence % len(MESSAGES) + 1),
    "new": lambda one: replace(one, sequence=len(MESSAGES) + 1),
    "no subject": lambda one: replace(one, subject="\x00"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("at", range(len(MESSAGES)))
def test_any_change_of_any_message_is_found(
    proofs: tuple[Proven, ...], change: str, at: int
) -> None:
    altered = CHANGES[change](MESSAGES[at])
    if altered == MESSAGES[at]:
        altered = replace(altered, body=altered.body + b"\n")
    found = check((*MESSAGES[:at], altered, *MESSAGES[at + 1 :]), proofs, KEY.public_key())
    assert len(found) == 1
    assert f"record {altered.sequence}" in found[0]


def _other(data: bytes) -> bytes:
    """Other bytes of the same length, as a field is given."""
    return base64.b64encode(bytes([data[0] ^ 1]) + data[1:])


def test_a_changed_proof_does_not_hold(proofs: tuple[Proven, ...]) -> None:
    first, second = proofs[:2]
    record = first.record

    def with_record(**changes: object) -> Proven:
        return first.model_copy(update={"record": record.model_copy(update=changes)})

    forged = [
        Proven(record=record, salt=_other(first.salt)),
        with_record(commitment=second.record.commitment),
        with_record(seal=second.record.seal),
        with_record(path=record.path[1:]),
        with_record(path=(*record.path, record.path[-1])),
        with_record(columns={**record.columns, "id": second.record.columns["id"]}),
        with_record(checkpoint=record.checkpoint.replace("\n", "\n9", 1)),
        Proven(
            record=second.record.model_copy(update={"sequence": record.sequence}),
            salt=base64.b64encode(second.salt),
        ),
    ]
    for one in forged:
        assert len(check(MESSAGES, (one, *proofs[1:]), KEY.public_key())) == 1


def test_a_message_without_a_proof_is_told(proofs: tuple[Proven, ...]) -> None:
    (found,) = check(MESSAGES, proofs[1:], KEY.public_key())
    assert "there is no proof of it" in found


def test_another_key_proves_nothing(proofs: tuple[Proven, ...]) -> None:
    found = check(MESSAGES, proofs, Ed25519PrivateKey.generate().public_key())
    assert len(found) == len(MESSAGES)


def test_what_is_not_recorded_yet_cannot_be_proven(tmp_path: Path) -> None:
    with (
        recorded(tmp_path, MESSAGES[:-1]) as reader,
        pytest.raises(UserError, match="there is no record"),
    ):
        prove(reader, MESSAGES)
