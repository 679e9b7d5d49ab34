"""Subjects: `<cell>.<event>.<tenant>.<request_id>.<step>[.<tail>]`."""

import re
from dataclasses import dataclass

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What one token of a subject may be."""

_SUBJECT = re.compile(rf"{TOKEN.pattern}(?:\.{TOKEN.pattern}){{4,5}}")

LIVE_CELL = "ev"
"""The cell of live traffic; a replay has a cell of its own."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One address on the log. `tail` is the tool, the approver or the stage, where there is one."""

    cell: str
    event: str
    tenant: str
    request_id: str
    step: str
    tail: str | None = None

    def __str__(self) -> str:
        head = f"{self.cell}.{self.event}.{self.tenant}.{self.request_id}.{self.step}"
        return head if self.tail is None else f"{head}.{self.tail}"


def parse_subject(text: str) -> Subject:
    """Take a subject apart.

    Raises:
        ValueError: not five or six tokens, or a token outside `[A-Za-z0-9_-]{1,64}`.
    """
    tokens = text.split(".")
    if not _SUBJECT.fullmatch(text):
        raise ValueError(_what_is_wrong(tokens))
    return Subject(*tokens)


def _what_is_wrong(tokens: list[str]) -> str:
    if len(tokens) not in (5, 6):
        return f"the subject has {len(tokens)} tokens; five or six are needed"
    token = next(token for token in tokens if not TOKEN.fullmatch(token))
    return f"token {token[:64]!r} of the subject is not [A-Za-z0-9_-]{{1,64}}"


def as_token(text: str) -> str:
    """The nearest valid token to `text`, for filing what came in under an invalid one."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:64] or "_"
