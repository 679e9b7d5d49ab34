"""The event envelope: CloudEvents over NATS in binary mode, and as JSON lines in files."""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from interlock_contracts.base import MAX_EVENT_BYTES, MAX_REQUEST_BYTES, Model
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.ids import event_id
from interlock_contracts.subjects import Subject, parse_subject
from interlock_contracts.table import EVENT, EventSpec

_ADAPTERS: dict[str, TypeAdapter[Model]] = {
    spec.name: TypeAdapter(spec.model) for spec in EVENT.values()
}
_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)


class InvalidEvent(Exception):
    """A message that is no event of ours: never retried, kept as a dead letter."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Event:
    """One immutable fact on the log.

    `time` is when it was decided; `logged_at` (UTC) and `sequence` are the broker's, and None
    until the event has been logged. `cause` is the id of the event it follows from.
    """

    subject: Subject
    data: Model
    id: str
    source: str
    time: datetime
    cause: str | None = None
    bundle: str | None = None
    traceparent: str | None = None
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
        if self.traceparent is not None:
            headers["traceparent"] = self.traceparent
        return headers

    def body(self) -> bytes:
        """The data as JSON."""
        return _ADAPTERS[self.subject.event].dump_json(self.data)

    def to_cloudevent(self) -> dict[str, Any]:
        """The event as one CloudEvents JSON object (structured mode), for files and pipes."""
        attributes = {name.removeprefix("ce-"): value for name, value in self.headers().items()}
        attributes["datacontenttype"] = attributes.pop("content-type")
        attributes["subject"] = str(self.subject)
        if self.logged_at is not None:
            attributes["loggedat"] = self.logged_at.isoformat()
        if self.sequence is not None:
            attributes["sequence"] = str(self.sequence)
        return {**attributes, "data": json.loads(self.body())}

    @classmethod
    def from_cloudevent(cls, line: str | bytes) -> Self:
        """Read one JSON line of `to_cloudevent`; raises `InvalidEvent`."""
        try:
            attributes = json.loads(line)
        except ValueError as error:
            raise InvalidEvent(FailureCode.MALFORMED_JSON, f"not JSON: {error}") from None
        if not isinstance(attributes, dict) or not isinstance(attributes.get("subject"), str):
            raise InvalidEvent(
                FailureCode.EVENT_INVALID, "not a CloudEvent: an object with a subject is needed"
            )
        headers = {f"ce-{k}": v for k, v in attributes.items() if k != "data"}
        if isinstance(attributes.get("traceparent"), str):
            headers["traceparent"] = attributes["traceparent"]
        event = cls.decode(
            attributes["subject"], headers, json.dumps(attributes.get("data")).encode()
        )
        logged_at, sequence = attributes.get("loggedat"), attributes.get("sequence")
        return replace(
            event,
            logged_at=None if logged_at is None else _time(str(logged_at)),
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

        A producer's request needs no CloudEvents headers; its id then follows from its subject.

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
        stated = headers.get("ce-type", spec.type)
        if stated != spec.type:
            raise InvalidEvent(
                FailureCode.VERSION_UNSUPPORTED, f"{stated} is not supported; {spec.type} is"
            )
        data = parse_data(spec, body)
        _check_address(address, data)
        time = headers.get("ce-time")
        return cls(
            subject=address,
            data=data,
            id=headers.get("ce-id") or event_id("", "producer", spec.name, subject),
            source=headers.get("ce-source", f"/{spec.owner}"),
            time=_time(time) if time else logged_at or _time("1970-01-01T00:00:00Z"),
            cause=headers.get("ce-cause"),
            bundle=headers.get("ce-bundle"),
            traceparent=headers.get("traceparent"),
            logged_at=logged_at,
            sequence=sequence,
        )


def parse_data(spec: EventSpec, body: bytes) -> Model:
    """Validate the JSON body of one event; raises `InvalidEvent`."""
    limit = MAX_REQUEST_BYTES if spec.name == "request" else MAX_EVENT_BYTES
    if len(body) > limit:
        raise InvalidEvent(
            FailureCode.OVERSIZE, f"{len(body):,} bytes; a {spec.name} has at most {limit:,}"
        )
    try:
        return _ADAPTERS[spec.name].validate_json(body)
    except ValidationError as error:
        raise InvalidEvent(*_explain(error)) from None


def _explain(error: ValidationError) -> tuple[FailureCode, str]:
    """Say what is wrong without repeating the content, which may be private."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    code = FailureCode.EVENT_INVALID
    first = details[0]
    if first["type"] == "json_invalid":
        code = FailureCode.MALFORMED_JSON
    elif first["type"] in ("string_too_long", "too_long"):
        code = FailureCode.OVERSIZE
    elif "text" in first["loc"] and first["type"] == "value_error":
        code = FailureCode.TEXT_INVALID
    reasons = [
        f"{'.'.join(map(str, detail['loc'])) or 'body'}: {detail['msg']}" for detail in details[:5]
    ]
    more = f" (and {len(details) - 5} more)" if len(details) > 5 else ""
    return code, "; ".join(reasons) + more


def _check_address(address: Subject, data: Model) -> None:
    """What an event says of itself must agree with the subject it came in on."""
    request = data.request if isinstance(data, Case) else data
    tenant = getattr(request, "tenant", None)
    if tenant is not None and tenant != address.tenant:
        raise InvalidEvent(
            FailureCode.TENANT_BOUNDARY,
            f"the body says tenant {tenant!r}, the subject says {address.tenant!r}",
        )
    request_id = getattr(request, "request_id", None)
    if request_id is not None and request_id != address.request_id:
        raise InvalidEvent(
            FailureCode.EVENT_INVALID,
            f"the body says request_id {request_id!r}, the subject says {address.request_id!r}",
        )


def _time(text: str) -> datetime:
    try:
        return _TIME.validate_python(text, strict=False)
    except ValidationError:
        raise InvalidEvent(FailureCode.EVENT_INVALID, "time is not an RFC 3339 time") from None
