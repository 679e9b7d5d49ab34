"""Personal data out of a case: the declared fields, and what looks personal in any text.

One mapping holds for the whole case, so that the same person has the same placeholder everywhere.
What binds (digests, ids, tools' and policies' names) stays as it is, and no longer fits the text.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from interlock.replay.message import LogMessage
from interlock.runtime.privacy import redact

PERSONAL = frozenset({"user", "requester", "by", "approved_by"})
"""Fields that name a person; their whole value is replaced."""

TEXTS = frozenset(
    {
        "text", "quote", "output", "note", "summary", "message", "title", "evidence", "value",
        "error", "arguments", "queries", "request_text", "reference", "original",
    }
)  # fmt: skip
"""Fields that hold free text or values from outside, searched for what looks personal."""


def redacted(messages: Sequence[LogMessage]) -> list[LogMessage]:
    """The messages with placeholders; a body that is no JSON is emptied."""
    people: dict[str, str] = {}
    values: dict[str, str] = {}
    parsed = [_parsed(one.body) for one in messages]
    for body in parsed:
        _collect(body, people)
    return [
        replace(one, body=json.dumps(_clean(body, False, people, values)).encode())
        for one, body in zip(messages, parsed, strict=True)
    ]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _collect(value: Any, people: dict[str, str]) -> None:
    if isinstance(value, dict):
        for name, part in value.items():
            named = part if isinstance(part, list) else [part]
            for one in named if name in PERSONAL else ():
                if isinstance(one, str) and one:
                    people.setdefault(one, f"PERSON_{len(people) + 1}")
            _collect(part, people)
    elif isinstance(value, list):
        for part in value:
            _collect(part, people)


def _clean(value: Any, free: bool, people: dict[str, str], values: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            name: _named(part, people)
            if name in PERSONAL
            else _clean(part, free or name in TEXTS, people, values)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_clean(part, free, people, values) for part in value]
    if not isinstance(value, str) or not free:
        return value
    for person, placeholder in people.items():  # as a word: a short name is in many others
        value = re.sub(rf"(?<!\w){re.escape(person)}(?!\w)", placeholder, value)
    done = redact(value[:100_000], known=values)
    values.update(done.values)
    return done.text


def _named(value: Any, people: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [people.get(one, one) for one in value]
    return people.get(value, value) if isinstance(value, str) else value
