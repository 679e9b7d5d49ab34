"""The audit sink's decision: a message of the log → the record that is kept of it. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from pydantic import AwareDatetime, ConfigDict, Field

from interlock.audit_sink.merkle import leaf_hash
from interlock_contracts.base import Model
from interlock_contracts.event import Event, subject_id
from interlock_contracts.subjects import parse_subject

LOST = "interlock.audit.lost.v1"
"""Type of the record that stands for a message which the stream no longer has."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the broker keeps it; it need not be a valid event."""

    subject: str
    headers: Mapping[str, str]
    body: bytes
    sequence: int
    logged_at: datetime

    @classmethod
    def of(cls, event: Event) -> Self:
        """The message of a logged event; `ValueError` for one that is not on the log."""
        if event.sequence is None or event.logged_at is None:
            raise ValueError("the event has not been logged: no sequence, no time")
        return cls(
            str(event.subject), event.headers(), event.body(), event.sequence, event.logged_at
        )


class AuditRecord(Model):
    """What is kept of one message. `leaf` is its hash in the Merkle tree, over all the rest.

    `type`, `id`, `tenant` and `request_id` are there to search by, and empty where the message
    does not say; `headers` and `data` are the message as it was.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    sequence: int = Field(ge=1)
    subject: str
    type: str
    id: str
    tenant: str
    request_id: str
    logged_at: AwareDatetime
    headers: dict[str, str]
    data: bytes
    leaf: bytes

    @property
    def stored(self) -> tuple[int, str, str, str, str, str, str, str, bytes, bytes]:
        """The columns as they are stored: times and headers as text, the leaf before the data."""
        return (
            self.sequence,
            self.subject,
            self.type,
            self.id,
            self.tenant,
            self.request_id,
            time_text(self.logged_at),
            headers_text(self.headers),
            self.leaf,
            self.data,
        )


def decide(message: Message) -> AuditRecord:
    """The record of a message; every message has one, valid event or not."""
    subject = _text(message.subject)
    headers = {_text(name): _text(value) for name, value in message.headers.items()}
    type_, id_, tenant, request_id = headers.get("ce-type", ""), headers.get("ce-id", ""), "", ""
    try:
        address = parse_subject(subject)
    except ValueError:
        pass  # no subject of ours: it is kept all the same
    else:
        tenant, request_id = address.tenant, address.request_id
        # a bare producer sends no CloudEvents headers; its id follows from the subject
        id_ = id_ or subject_id(address)
        type_ = type_ or f"interlock.{address.event}.v1"
    return _record(message, subject, headers, (type_, id_, tenant, request_id))


def lost(sequence: int, noticed_at: datetime) -> AuditRecord:
    """The record that says: the stream has nothing at this sequence any more."""
    message = Message("", {}, b"", sequence, noticed_at)
    return _record(message, "", {}, (LOST, "", "", ""))


def _record(
    message: Message, subject: str, headers: dict[str, str], found: tuple[str, str, str, str]
) -> AuditRecord:
    type_, id_, tenant, request_id = found
    texts = (subject, *found, time_text(message.logged_at), headers_text(headers))
    return AuditRecord(
        sequence=message.sequence,
        subject=subject,
        type=type_,
        id=id_,
        tenant=tenant,
        request_id=request_id,
        logged_at=message.logged_at,
        headers=headers,
        data=message.body,
        leaf=record_leaf(message.sequence, [text.encode() for text in texts], message.body),
    )


def record_leaf(sequence: int, texts: list[bytes], data: bytes) -> bytes:
    """The leaf hash of a record, over its columns as stored (UTF-8), the leaf itself left out.

    Every part is preceded by its length in 8 bytes, so that no two records share their bytes.
    """
    parts = [b"interlock.audit.v1", sequence.to_bytes(8), *texts, data]
    return leaf_hash(b"".join(len(part).to_bytes(8) + part for part in parts))


def time_text(moment: datetime) -> str:
    """A moment as it is stored: RFC 3339, UTC, microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def headers_text(headers: Mapping[str, str]) -> str:
    """Headers as they are stored: JSON, sorted."""
    return json.dumps(dict(headers), sort_keys=True, separators=(",", ":"))


def _text(text: str) -> str:
    """Text that can be stored: a lone surrogate, which UTF-8 cannot carry, is spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()
