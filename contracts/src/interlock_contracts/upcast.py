"""Old events read as today's: one pure step from each version of an event's data to the next.

A log is never rewritten: what was written years ago is brought up to date as it is read. A breaking
change of an event raises its version in the table and adds a step here; recorded histories of
every release are its test (tests/histories). A change of what a case holds is a step for each
event that carries the case.
"""

import json
from collections.abc import Callable
from typing import Any

from interlock_contracts.base import MAX_EVENT_BYTES
from interlock_contracts.failures import FailureCode
from interlock_contracts.reading import InvalidEvent
from interlock_contracts.table import EventSpec

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""From the JSON object of one version to that of the next; it may change what it is given."""

UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""The step that leaves a version behind, by event name and that version. All are at 1 yet."""

FIRST_VERSION = 1
"""What is meant where an event does not say its version: its sender was written for the first."""


def up_to_date(spec: EventSpec, stated: str | None, body: bytes) -> bytes:
    """The body of an event, brought up to the version that is read here.

    `stated` is its CloudEvents type, if it says one. What is no JSON object is handed back as it
    is: its reader says what is wrong with it.

    Raises:
        InvalidEvent: version_unsupported for a newer version, or for another event's type;
            event_invalid for what the stated version cannot have held.
    """
    version = FIRST_VERSION if stated is None else _version_in(stated, spec.name)
    if version is None or version > spec.version:
        mend = "" if version is None else "; a newer interlock wrote it: upgrade this one"
        raise InvalidEvent(
            FailureCode.VERSION_UNSUPPORTED,
            f"{(stated or '')[:64]!r} is not supported, {spec.type!r} is{mend}",
        )
    if version == spec.version or len(body) > MAX_EVENT_BYTES:
        return body
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return body
    return _upcast(spec, version, data) if isinstance(data, dict) else body


def _upcast(spec: EventSpec, version: int, data: dict[str, Any]) -> bytes:
    try:
        for step in range(version, spec.version):
            data = UPCASTERS[spec.name, step](data)
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    except Exception as error:  # of a step over what its version never held
        raise InvalidEvent(
            FailureCode.EVENT_INVALID,
            f"not what version {version} of a {spec.name} holds ({type(error).__name__})",
        ) from None


def _version_in(stated: str, name: str) -> int | None:
    """The N of a type `interlock.<name>.v<N>`; None for any other type."""
    head, _, number = stated.rpartition(".v")
    known = head == f"interlock.{name}" and number.isascii() and number.isdecimal()
    return int(number) if known and len(number) <= 4 and number[0] != "0" else None
