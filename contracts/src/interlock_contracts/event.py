"""The event envelope: CloudEvents over NATS in binary mode, and as JSON lines in files."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from interlock_contracts.base import DIGEST, MAX_REQUEST_BYTES, Model, Time
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.ids import event_id
from interlock_contracts.reading import ADAPTERS, InvalidEvent, check_address, parse_data
from interlock_contracts.subjects import Subject, parse_subject
from interlock_contracts.table import EVENT, SERVICES, EventSpec
from interlock_contracts.upcast import up_to_date

__all__ = ["Event", "InvalidEvent", "parse_data", "subject_id"]

_TIME: TypeAdapter[datetime] = TypeAdapter(Time)
_DIGEST = re.compile(DIGEST)
_SEQUENCE = re.compile("[0-9]{1,20}")
_ATTEMPT = re.compile("[0-9]{1,4}")
_DATA = re.compile(rb'[{,]\s*"data"\s*:')
_CUT_BYTES = MAX_REQUEST_BYTES // 5
"""Lines up to this length are cut apart. In the compact form that limits count, numbers such as
1e15 become longer, but none five times as long."""
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One immutable fact on the log.

    `time` is when it was decided; `logged_at` (UTC) and `sequence` are the broker's, and None
    until the event has been logged. `cause` is the id of the event it follows from. `attempt`
    is the operator's retry it goes back to; 0: none.
    """

    subject: Subject
    data: Model
    id: str
    source: str
    time: datetime
    cause: str | None = None
    bundle: str | None = None
    traceparent: str | None = None
    attempt: int = 0
    logged_at: datetime | None = None
    sequence: int | None = None

    @property
    def spec(self) -> EventSpec:
        """This event's row of the table."""
        return EVENT[self.subject.event]

    @property
    def case(self) -> Case:
        """The case this event carries; `TypeError` for an event that carries none."""
        if not isinstance(self.data, Case):
            raise TypeError(f"a {self.subject.event} event carries no case")
        return self.data

    def headers(self) -> dict[str, str]:
        """The CloudEvents attributes as NATS headers (binary mode)."""
        headers = {
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": self.spec.type,
            "ce-source": self.source,
            "ce-time": self.time.isoformat(),
            "content-type": "application/json",
        }
        if self.cause is not None:
            headers["ce-cause"] = self.cause
        if self.bundle is not None:
            headers["ce-bundle"] = self.bundle
        if self.attempt:
            headers["ce-attempt"] = str(self.attempt)
        if self.traceparent is not None:
            headers["traceparent"] = self.traceparent
        return headers

    def body(self) -> bytes:
        """The data as JSON."""
        return ADAPTERS[self.subject.event].dump_json(self.data)

    def to_cloudevent(self) -> dict[str, Any]:
        """The event as one CloudEvents JSON object (structured mode), for files."""
        return {**self._attributes(), "data": json.loads(self.body())}

    def to_line(self) -> str:
        """The same as one line of JSON, for pipes: its data is written once, not read again."""
        head = _ENCODE(self._attributes())
        return f'{head[:-1]}, "data": {self.body().decode()}}}\n'

    def _attributes(self) -> dict[str, str]:
        attributes = {name.removeprefix("ce-"): value for name, value in self.headers().items()}
        attributes["datacontenttype"] = attributes.pop("content-type")
        attributes["subject"] = str(self.subject)
        if self.logged_at is not None:
            attributes["loggedat"] = self.logged_at.isoformat()
        if self.sequence is not None:
            attributes["sequence"] = str(self.sequence)
        return attributes

    @classmethod
    def from_cloudevent(cls, line: str | bytes) -> Self:
        """Read one JSON line of `to_cloudevent`; raises `InvalidEvent` as `decode` does."""
        cut = _cut(line) if isinstance(line, bytes) and len(line) <= _CUT_BYTES else None
        if cut is not None:
            with suppress(InvalidEvent):  # read as a whole, below, it gets its reason
                return cls._from_attributes(*cut)
        try:
            attributes = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "unreadable"
            raise InvalidEvent(FailureCode.MALFORMED_JSON, f"not JSON: {reason}") from None
        if not isinstance(attributes, dict) or not isinstance(attributes.get("subject"), str):
            raise InvalidEvent(
                FailureCode.EVENT_INVALID, "not a CloudEvent: an object with a subject is needed"
            )
        data = attributes.pop("data", None)
        # As compact as the wire form, so that the same limit of bytes holds. Lone surrogates
        # pass here and are refused as malformed JSON by the reader of the data.
        body = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return cls._from_attributes(attributes, body.encode(errors="surrogatepass"))

    @classmethod
    def _from_attributes(cls, attributes: dict[str, Any], body: bytes) -> Self:
        """The event with these CloudEvents attributes, a subject among them, and this data."""
        if not all(isinstance(value, str) for value in attributes.values()):
            raise InvalidEvent(FailureCode.EVENT_INVALID, "a CloudEvents attribute is no string")
        headers = {f"ce-{name}": value for name, value in attributes.items()}
        if "traceparent" in attributes:
            headers["traceparent"] = attributes["traceparent"]
        event = cls.decode(attributes["subject"], headers, body)
        logged_at, sequence = attributes.get("loggedat"), attributes.get("sequence")
        if sequence is not None and not _SEQUENCE.fullmatch(sequence):
            raise InvalidEvent(FailureCode.EVENT_INVALID, "sequence is no number")
        return replace(
            event,
            logged_at=None if logged_at is None else _time(logged_at),
            sequence=None if sequence is None else int(sequence),
        )

    @classmethod
    def decode(
        cls,
        subject: str,
        headers: dict[str, str] | None,
        body: bytes,
        *,
        logged_at: datetime | None = None,
        sequence: int | None = None,
    ) -> Self:
        """Read an event off the wire, checking everything that can be checked of it alone.

        What comes from outside (a producer, a reviewer, an operator) needs no CloudEvents
        headers, and its id always follows from its subject: an id that a sender used twice
        would make the broker drop what follows from the second event as a duplicate.

        An event of an older version is read as one of today's (`interlock_contracts.upcast`).

        Raises:
            InvalidEvent: with the code and the reason; never with the content itself.
        """
        try:
            address = parse_subject(subject)
        except ValueError as error:
            raise InvalidEvent(FailureCode.SUBJECT_INVALID, str(error)) from None
        spec = EVENT.get(address.event)
        if spec is None:
            raise InvalidEvent(FailureCode.EVENT_UNKNOWN, f"no event is called {address.event!r}")
        headers = headers or {}
        if headers.get("ce-specversion", "1.0") != "1.0":
            raise InvalidEvent(FailureCode.VERSION_UNSUPPORTED, "CloudEvents 1.0 is supported")
        data = parse_data(spec, up_to_date(spec, headers.get("ce-type"), body))
        check_address(address, data)
        ours = headers if spec.owner in SERVICES else {}  # what outsiders may not say
        bundle, attempt = ours.get("ce-bundle"), ours.get("ce-attempt", "0")
        if bundle is not None and not _DIGEST.fullmatch(bundle):
            raise InvalidEvent(FailureCode.EVENT_INVALID, "ce-bundle is not a digest")
        if not _ATTEMPT.fullmatch(attempt):
            raise InvalidEvent(FailureCode.EVENT_INVALID, "ce-attempt is no number")
        time = headers.get("ce-time")
        return cls(
            subject=address,
            data=data,
            id=ours.get("ce-id") or subject_id(address),
            source=headers.get("ce-source", f"/{spec.owner}"),
            time=_time(time) if time else logged_at or _UNKNOWN_TIME,
            cause=headers.get("ce-cause"),
            bundle=bundle,
            traceparent=headers.get("traceparent"),
            attempt=int(attempt),
            logged_at=logged_at,
            sequence=sequence,
        )


def _cut(line: bytes) -> tuple[dict[str, Any], bytes] | None:
    """The attributes and the data of a line that ends with its data, as lines do; else None.

    Read are only the attributes. That what is cut off behind them is one JSON value, and the rest
    of the line, its reader finds out.
    """
    found, rest = _DATA.search(line), line.rstrip(b" \t\r\n")
    if found is None or not rest.endswith(b"}"):
        return None
    try:
        # Only of an object's own last member does this make an object again.
        attributes = json.loads((line[: found.end()] + b"null}").decode())
    except (ValueError, RecursionError):
        return None
    del attributes["data"]
    return (attributes, rest[found.end() : -1]) if "subject" in attributes else None


def subject_id(subject: Subject) -> str:
    """The id of an event from outside, known or not. A replay in another cell has the same."""
    owner = EVENT[subject.event].owner if subject.event in EVENT else "unknown"
    return event_id("", str(owner), subject.event, str(subject).removeprefix(f"{subject.cell}."))


def _time(text: str) -> datetime:
    try:
        return _TIME.validate_json(json.dumps(text))
    except ValidationError:
        raise InvalidEvent(FailureCode.EVENT_INVALID, "time is not an RFC 3339 time") from None
