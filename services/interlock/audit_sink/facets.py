"""What an event can be found by: documents, tools, policies, outcomes; and whom it is about.

Facets stay readable when the content is erased, so only names that an installation gives are
among them, never words of a person. Bodies are read as they come: whoever may publish may have
written anything, and what does not fit is passed over.
"""

from collections.abc import Iterator
from typing import Any, TypeGuard

from pydantic_core import from_json

from interlock_contracts.subjects import TOKEN, Subject

Facets = dict[str, tuple[str, ...]]
"""Kind → values, both sorted. Kinds: document, version, chunk, tool, policy, outcome, code,
said; and of a `custody` event: act, whose, until, class."""

MAX_VALUES = 256
"""Most values of one kind that are kept of one event."""

MAX_CHARS = 256
"""Longest value that is kept."""


def facets_of(address: Subject, body: bytes) -> Facets:
    """What the event at this address can be found by."""
    found: dict[str, set[str]] = {}
    for kind, value in _found(address, body):
        if _is_name(value):
            values = found.setdefault(kind, set())
            if len(values) < MAX_VALUES:
                values.add(value)
    return {kind: tuple(sorted(values)) for kind, values in sorted(found.items())}


def principal_of(body: bytes) -> str | None:
    """The user in a request, or in the request of a case; None where there is none."""
    data = _read(body)
    user = _at(_at(_at(data, "request") or data, "principal"), "user")
    return user if _is_name(user) else None


def texts_of(event: str, body: bytes) -> list[str]:
    """The words that carry on a conversation: an answer's, or those a request quotes of earlier
    answers."""
    data = _read(body)
    if event == "answer":
        said = [_at(data, "text")]
    else:
        turns = _at(data, "history")
        said = [_at(turn, "text") for turn in _list(turns) if _at(turn, "role") == "assistant"]
    return [text for text in said if isinstance(text, str) and text.strip()]


def _found(address: Subject, body: bytes) -> Iterator[tuple[str, Any]]:
    match address.event:
        case "approved" | "reserved" | "result":
            yield "tool", address.tail
            if address.event == "result":
                yield "outcome", _at(_read(body), "effect")
        case "context":
            for chunk in _list(_at(_at(_read(body), "context"), "chunks")):
                yield "document", _at(chunk, "document_id")
                yield "version", _at(chunk, "version")
                yield "chunk", _at(chunk, "digest")
        case "verdict":
            yield from _of_verdict(_at(_read(body), "verdict"))
        case "confirm" | "review":
            yield from _tools([_read(body)])
        case "answer_review":
            for objection in _list(_at(_read(body), "objections")):
                yield "code", _at(objection, "code")
        case "answer":
            data = _read(body)
            yield "outcome", _at(data, "status")
            for failure in _list(_at(data, "failures")):
                yield "code", _at(failure, "code")
        case "dead":
            yield "code", _at(_at(_read(body), "failure"), "code")
        case "custody":
            yield from _of_custody(_read(body))


def _of_verdict(verdict: Any) -> Iterator[tuple[str, Any]]:
    yield "outcome", _at(verdict, "decision")
    actions = _list(_at(verdict, "actions"))
    yield from _tools(actions)
    for action in actions:
        for policy in _list(_at(_at(action, "policy"), "policies")):
            yield "policy", policy
    for violation in _list(_at(verdict, "violations")):
        yield "code", _at(violation, "code")


def _of_custody(data: Any) -> Iterator[tuple[str, Any]]:
    yield "act", _at(data, "act")
    yield "whose", _at(data, "data_subject")
    yield "until", _at(data, "until")
    yield "document", _at(data, "document")
    for name in _list(_at(data, "events")):
        yield "class", name


def _is_name(value: Any) -> TypeGuard[str]:
    """Text that every store can hold, and not too long."""
    return isinstance(value, str) and 0 < len(value) <= MAX_CHARS and "\0" not in value


def _tools(things: list[Any]) -> Iterator[tuple[str, Any]]:
    for thing in things:
        tool = _at(thing, "tool")
        if isinstance(tool, str) and TOKEN.fullmatch(tool):  # else it is the model's invention
            yield "tool", tool


def _read(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError:
        return None


def _at(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else None


def _list(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []
