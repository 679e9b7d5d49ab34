"""Gold sets: one JSON object a line, a request and what is expected of it."""

import json
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from interlock.runtime.errors import UserError
from interlock_contracts.base import CleanText, JsonObject, Model, Name, RequestText, Token

Ending = Literal["answered", "approved", "confirm", "review", "refused", "failed"]
"""How a request ends, or where it waits: for a write that may run, or for a person."""


class WantedCall(Model):
    """A tool call that must be proposed, with exactly these arguments."""

    tool: CleanText
    arguments: JsonObject = {}


class GoldCase(Model):
    """One request and what is expected of it; what is left out is not looked at.

    Of `documents` the answer must cite one; `contains` must stand in it; `failure` is the code
    with which the gate or the router stopped it.
    """

    id: Name
    tenant: Token
    user: Name
    role: Name
    scopes: tuple[Token, ...] = ()
    text: RequestText
    outcome: Ending
    intent: Token | None = None
    documents: tuple[Name, ...] = ()
    calls: tuple[WantedCall, ...] = ()
    failure: Token | None = None
    contains: CleanText | None = None


def read_gold(path: Path) -> list[GoldCase]:
    """Every case of a file. Raises `UserError` with the line of what is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__})") from None
    cases: list[GoldCase] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            cases.append(GoldCase.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise UserError(f"{path}:{number}: {where}: {first['msg']}") from None
    twice = {case.id for case in cases if sum(one.id == case.id for one in cases) > 1}
    if not cases or twice:
        raise UserError(f"{path}: " + (f"twice: {', '.join(sorted(twice))}" if twice else "empty"))
    return cases


def dumped(value: object) -> str:
    """A value, shortly, for a message."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"
