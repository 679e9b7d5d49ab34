"""From a model's raw text to a proposal. Strict: what cannot be read is named, never guessed."""

import re
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from interlock_contracts.base import JsonObject, Model, is_absent
from interlock_contracts.proposal import ModelRecord, Proposal, Statement, ToolCall

MAX_OUTPUT_CHARS = 65_536
"""Longest output that is read and kept, in characters."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Output(Model):
    """The one form an output may have, whichever model it is from."""

    statements: tuple[Statement, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    data: JsonObject | None = Field(default=None, exclude_if=is_absent)
    abstained: bool = False


_OUTPUT: TypeAdapter[Output] = TypeAdapter(Output)


def clean_output(raw: str) -> str:
    """`raw` as it can be kept: bounded, with U+FFFD for what may not stand in an event."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", raw[:MAX_OUTPUT_CHARS])


def parse(raw: str, record: ModelRecord) -> Proposal:
    """The proposal in `raw`, or a malformed one that says why it could not be read."""
    if len(raw) > MAX_OUTPUT_CHARS:
        return _malformed(f"more than {MAX_OUTPUT_CHARS:,} characters", record)
    if _UNPRINTABLE.search(raw):
        return _malformed("it contains control characters", record)
    try:
        output = _OUTPUT.validate_json(raw)
        problem = _problem(output)
        if problem is None:
            return Proposal(
                statements=output.statements,
                calls=output.calls,
                data=output.data,
                abstained=output.abstained,
                model=record,
            )
    except ValidationError as error:
        details: list[Any] = list(error.errors(include_url=False, include_input=False))
        problem = "; ".join(
            f"{'/'.join(map(str, detail['loc'])) or 'output'}: {detail['msg']}"
            for detail in details[:3]
        )
    return _malformed(problem, record)


def _problem(output: Output) -> str | None:
    says = bool(output.statements or output.calls or output.data is not None)
    if any(not statement.text.strip() for statement in output.statements):
        return "a statement has no text"
    if output.abstained and says:
        return "it abstains and says something all the same"
    if not output.abstained and not says:
        return "neither a statement nor a call, and it does not abstain"
    return None


def _malformed(why: str, record: ModelRecord) -> Proposal:
    return Proposal(malformed=clean_output(why[:500]), model=record)
