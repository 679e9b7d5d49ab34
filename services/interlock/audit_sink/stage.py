"""The audit sink's decision: a message of the log → the record that is kept of it. Pure."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from interlock.audit_sink.facets import Facets, facets_of, principal_of
from interlock_contracts.event import Event, subject_id
from interlock_contracts.subjects import parse_subject
from interlock_contracts.table import EVENT, SERVICES

LOST = "interlock.audit.lost.v1"
"""Type of the record that stands for a message which the stream no longer has."""

_TYPE = re.compile(r"interlock\.[a-z]{1,32}\.v[0-9]{1,4}")
_ID = re.compile(r"[0-9A-Z]{26}")


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


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """What is kept of one message. `headers` and `data` are the message as it was, and are sealed.

    The rest stays readable whatever happens to them, and so holds nothing that a person wrote:
    `type`, `id`, `cause`, `tenant` and `request_id` (empty where the message does not say), and
    `facets`, what it can be found by. `principal` is who asks, where the message says it itself.
    """

    sequence: int
    subject: str
    type: str
    id: str
    cause: str
    tenant: str
    request_id: str
    logged_at: datetime
    headers: dict[str, str]
    data: bytes
    facets: Facets = field(default_factory=dict)
    principal: str | None = None

    @property
    def event(self) -> str:
        """The name of the event: `interlock.route.v1` → `route`."""
        return self.type.split(".")[1] if _TYPE.fullmatch(self.type) else ""

    def as_json(self) -> dict[str, Any]:
        """The record as JSON; `data` in base64."""
        shown = asdict(self)
        shown["logged_at"] = time_text(self.logged_at)
        shown["data"] = base64.b64encode(self.data).decode()
        return shown


def decide(message: Message) -> AuditRecord:
    """The record of a message; every message has one, valid event or not."""
    subject = _text(message.subject)
    headers = {_text(name): _text(value) for name, value in message.headers.items()}
    try:
        address = parse_subject(subject)
    except ValueError:  # no subject of ours: it is kept all the same
        return _record(message, subject, headers, type=_known(_TYPE, headers.get("ce-type", "")))
    spec = EVENT.get(address.event)
    stated = headers if spec is not None and spec.owner in SERVICES else {}
    return _record(
        message,
        subject,
        headers,
        # What comes from outside may say anything; its type and id follow from its subject.
        type=_known(_TYPE, stated.get("ce-type", "")) or f"interlock.{address.event}.v1",
        id=_known(_ID, stated.get("ce-id", "")) or subject_id(address),
        cause=_known(_ID, headers.get("ce-cause", "")),
        tenant=address.tenant,
        request_id=address.request_id,
        facets=facets_of(address, message.body),
        principal=principal_of(message.body) if address.event == "request" else None,
    )


def lost(sequence: int, noticed_at: datetime) -> AuditRecord:
    """The record that says: the stream has nothing at this sequence any more."""
    return _record(Message("", {}, b"", sequence, noticed_at), "", {}, type=LOST)


def _record(
    message: Message, subject: str, headers: dict[str, str], type: str, **found: Any
) -> AuditRecord:
    empty = {"id": "", "cause": "", "tenant": "", "request_id": ""}
    return AuditRecord(
        sequence=message.sequence,
        subject=subject,
        type=type,
        logged_at=message.logged_at,
        headers=headers,
        data=message.body,
        **{**empty, **found},
    )


def time_text(moment: datetime) -> str:
    """A moment as it is stored: RFC 3339, UTC, microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def headers_text(headers: Mapping[str, str]) -> str:
    """Headers as they are stored: JSON, sorted."""
    return json.dumps(dict(headers), sort_keys=True, separators=(",", ":"))


def _known(form: re.Pattern[str], text: str) -> str:
    return text if form.fullmatch(text) else ""


def _text(text: str) -> str:
    """Text that any store takes: lone surrogates and NUL are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
