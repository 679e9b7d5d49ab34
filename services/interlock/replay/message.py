"""A message of the log as it stands there: the bytes, from whichever place they are read."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from interlock.replay.log import Entry, Unreadable
from interlock_contracts.base import Time
from interlock_contracts.event import Event, InvalidEvent

_TIME: TypeAdapter[datetime] = TypeAdapter(Time)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Packed = tuple[str, int, int, dict[str, str], bytes]


@dataclass(frozen=True, slots=True)
class LogMessage:
    """One message: its subject, the broker's sequence and time (UTC), headers and body."""

    subject: str
    sequence: int
    logged_at: datetime
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        """The request it belongs to; empty where the subject names none."""
        tokens = self.subject.split(".", 4)
        return tokens[3] if len(tokens) > 4 else ""

    @property
    def event_name(self) -> str:
        """The event its subject names."""
        return self.subject.split(".", 2)[1] if "." in self.subject else ""

    def entry(self) -> Entry:
        """The event, or why it is none."""
        try:
            return Event.decode(
                self.subject,
                self.headers,
                self.body,
                logged_at=self.logged_at,
                sequence=self.sequence,
            )
        except InvalidEvent as error:
            return Unreadable(self.subject, error)

    def to_json(self) -> dict[str, Any]:
        """For a file: the body as text, or as base64 where it is not UTF-8."""
        try:
            body = {"body": self.body.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": base64.b64encode(self.body).decode()}
        return {
            "subject": self.subject,
            "sequence": self.sequence,
            "logged_at": self.logged_at.isoformat(),
            "headers": self.headers,
            **body,
        }

    def packed(self) -> Packed:
        """In what `marshal` knows; the time as microseconds since 1970."""
        microseconds = (self.logged_at - _EPOCH) // timedelta(microseconds=1)
        return self.subject, self.sequence, microseconds, self.headers, self.body

    @classmethod
    def unpacked(cls, given: Packed) -> Self:
        """A message as `packed` made it."""
        subject, sequence, microseconds, headers, body = given
        logged_at = _EPOCH + timedelta(microseconds=microseconds)
        return cls(subject, sequence, logged_at, headers, body)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Read one line of `to_json`; raises `ValueError`."""
        try:
            given = json.loads(line)
            coded = given.get("body_base64")
            body = given["body"].encode() if coded is None else base64.b64decode(coded, None, True)
            headers = {str(name): str(value) for name, value in given["headers"].items()}
            logged_at = _TIME.validate_json(json.dumps(given["logged_at"]))
            return cls(str(given["subject"]), int(given["sequence"]), logged_at, headers, body)
        except (KeyError, TypeError, AttributeError, ValidationError, RecursionError) as error:
            raise ValueError(f"no message of a log: {type(error).__name__}") from None
