"""Reading what came in: the checks of one event, and reasons that repeat none of its content."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from interlock_contracts.actions import (
    Confirm,
    Decided,
    Grant,
    Notice,
    Reservation,
    Result,
    Review,
    Spent,
)
from interlock_contracts.activation import Activation, Evaluation
from interlock_contracts.answer import DeadLetter, Retry
from interlock_contracts.answer_review import AnswerReview
from interlock_contracts.base import MAX_EVENT_BYTES, MAX_REQUEST_BYTES, TEXT_INVALID, Model
from interlock_contracts.case import Case
from interlock_contracts.documents import DocumentEvent
from interlock_contracts.failures import FailureCode
from interlock_contracts.keyring import Keyring
from interlock_contracts.subjects import Subject, as_token
from interlock_contracts.table import EVENT, EventSpec

ADAPTERS: dict[str, TypeAdapter[Model]] = {
    spec.name: TypeAdapter(spec.model) for spec in EVENT.values()
}
"""The validator and serialiser of each event's data, by event name."""

_SHOWN = 5


class InvalidEvent(Exception):
    """A message that is no event of ours: never retried, kept as a dead letter."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def parse_data(spec: EventSpec, body: bytes) -> Model:
    """Validate the JSON body of one event.

    Raises:
        InvalidEvent: malformed_json, oversize, text_invalid or event_invalid.
    """
    limit = MAX_REQUEST_BYTES if spec.name == "request" else MAX_EVENT_BYTES
    if len(body) > limit:
        raise InvalidEvent(
            FailureCode.OVERSIZE, f"{len(body):,} bytes; a {spec.name} has at most {limit:,}"
        )
    try:
        return ADAPTERS[spec.name].validate_json(body)
    except ValidationError as error:
        raise InvalidEvent(*_explain(error)) from None


_CODE_OF = {
    "json_invalid": FailureCode.MALFORMED_JSON,
    "string_too_long": FailureCode.OVERSIZE,
    "too_long": FailureCode.OVERSIZE,
    TEXT_INVALID: FailureCode.TEXT_INVALID,
}
"""The code of each kind of validation error, the most telling first; else event_invalid."""


def _explain(error: ValidationError) -> tuple[FailureCode, str]:
    """Say what is wrong without repeating the content, which may be private."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    kinds = {detail["type"] for detail in details}
    code = next((_CODE_OF[kind] for kind in _CODE_OF if kind in kinds), FailureCode.EVENT_INVALID)
    # What gave the code comes first, so that it is among the reasons shown.
    details.sort(key=lambda detail: _CODE_OF.get(detail["type"]) is not code)
    reasons = [f"{_place(detail['loc'])}: {detail['msg']}" for detail in details[:_SHOWN]]
    more = f" (and {len(details) - _SHOWN} more)" if len(details) > _SHOWN else ""
    return code, "; ".join(reasons) + more


def _place(loc: tuple[int | str, ...]) -> str:
    """The path to an error. Names the contracts do not know are the sender's: shown as `*`."""
    known = _field_names()
    return ".".join(
        str(part) if isinstance(part, int) or part in known else "*" for part in loc
    ) or ("body")


@cache
def _field_names() -> frozenset[str]:
    """Every field name of every event; computed at the first error."""
    return frozenset(
        name for spec in EVENT.values() for name in _properties(spec.model.model_json_schema())
    )


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from schema["properties"]
        for part in schema.values():
            yield from _properties(part)


def check_address(address: Subject, data: Model) -> None:
    """What an event says of itself must agree with the subject it came in on.

    The broker's permissions are on subjects; this makes them hold for the body too: tenant and
    request, the action in the step, the tool, approver or stage in the tail.

    Raises:
        InvalidEvent: subject_invalid for a tail too many or too few, tenant_boundary for
            another tenant, event_invalid for any other disagreement.
    """
    tail = EVENT[address.event].tail
    if (tail is None) != (address.tail is None):
        raise InvalidEvent(
            FailureCode.SUBJECT_INVALID,
            f"the subject of a {address.event} ends with "
            + ("its step" if tail is None else f"the {tail}"),
        )
    said = data.request if isinstance(data, Case) else data
    for name, there in (("tenant", address.tenant), ("request_id", address.request_id)):
        here = getattr(said, name, there)
        if here != there:
            code = FailureCode.TENANT_BOUNDARY if name == "tenant" else FailureCode.EVENT_INVALID
            raise InvalidEvent(code, f"the body says {name} {here!r}, the subject says {there!r}")
    for name, here, there in _said_twice(address, data):
        if here != there:
            raise InvalidEvent(
                FailureCode.EVENT_INVALID, f"the body's {name} is not the subject's, {there!r}"
            )


def _said_twice(address: Subject, data: Model) -> Iterator[tuple[str, str, str]]:
    """What stands in the body and in the subject: its name, the body's, the subject's."""
    if isinstance(data, Case):  # most events; the rest is about what goes outside
        return
    tail = address.tail or ""
    match data:
        case Confirm() | Review() | Decided() | Notice() | Grant() | Result():
            yield "action", data.action, address.step
        case AnswerReview():
            yield "action", data.action, address.step
            yield "answer", data.answer.request_id, address.request_id
        case Reservation():
            yield "effect_key", data.effect_key, address.step
        case Activation() | Keyring():
            yield "number", str(data.number), address.step
        case Evaluation():
            yield "bundle", data.bundle.removeprefix("sha256:"), address.request_id
        case Spent():
            yield "ledger", data.ledger, address.request_id
            yield "number", str(data.number), address.step
        case DocumentEvent():
            yield "document", data.key, address.request_id
            yield "version", data.step, address.step
        case _:
            pass
    match data:
        case Grant() | Result() | Reservation():
            yield "tool", as_token(data.tool), tail
        case Decided() if address.tail is not None:
            yield "by", as_token(data.by), tail
        case DeadLetter() | Retry():
            yield "stage", data.stage, tail
        case _:
            pass
