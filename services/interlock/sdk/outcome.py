"""What came of a call, and how each ending is written."""

import json
from typing import Any

from pydantic import TypeAdapter

from interlock_contracts.actions import Effect
from interlock_contracts.base import Json, Model
from interlock_contracts.canonical import canonical_json
from interlock_contracts.failures import Failure, FailureCode, failure

MAX_OUTPUT_BYTES = 65_536
"""Largest output of a tool, in bytes of canonical JSON."""


_JSON: TypeAdapter[Any] = TypeAdapter(Json)


class Outcome(Model):
    """What came of performing a grant: the recorded effect that a replay hands back.

    `output` is JSON. A landed effect may have a failure as well: then its output was unusable.
    """

    effect: Effect
    output: Json = None
    failure: Failure | None = None


class Unusable(Exception):
    """An output that cannot go on the log."""


def as_json(output: object) -> Any:
    """The output as plain JSON, exactly as a reader of the log will see it."""
    try:
        text = canonical_json(output)
        value = _JSON.validate_python(json.loads(text))
    except Exception:  # whatever the output's type does: a landed effect stays landed
        raise Unusable("the tool's output is not JSON") from None
    if len(text) > MAX_OUTPUT_BYTES:
        raise Unusable(f"the tool's output is {len(text):,} bytes; {MAX_OUTPUT_BYTES:,} fit")
    return value


def landed(output: object) -> Outcome:
    """The effect happened, and stays so even when the output cannot be kept."""
    try:
        return Outcome(effect=Effect.LANDED, output=as_json(output))
    except Unusable as error:
        note = failure(FailureCode.TOOL_FAILED, f"the effect landed, but {error}")
        return Outcome(effect=Effect.LANDED, failure=note)


def did_not_happen(code: FailureCode, message: str) -> Outcome:
    """The call surely had no effect."""
    return Outcome(effect=Effect.DID_NOT_HAPPEN, failure=failure(code, message))


def expired() -> Outcome:
    """The grant ran out before anything was called."""
    return did_not_happen(FailureCode.GRANT_EXPIRED, "the grant expired before the call")


def revoked() -> Outcome:
    """All grants of its epoch were revoked before anything was called."""
    return did_not_happen(FailureCode.GRANT_REVOKED, "the grant was revoked before the call")


def in_doubt(message: str) -> Outcome:
    """Nobody knows: a person has to look."""
    return Outcome(effect=Effect.IN_DOUBT, failure=failure(FailureCode.EFFECT_IN_DOUBT, message))
