"""What the user's own words hold that a policy may judge by: a stated limit, names with digits.

Policies cannot read text. These two readings of it are plain enough to be relied on, and both
only ever narrow what is permitted when a policy uses them in a `forbid`.
"""

import re
from collections.abc import Iterator

from interlock_contracts.request import Request

_CURRENCY = r"(?:[€$£]|(?:EUR|USD|GBP|CHF|euros?|dollars?|pounds?|francs?)\b)"
_MONEY = re.compile(_CURRENCY, re.IGNORECASE)
_AMOUNT = rf"(?:{_CURRENCY}\s?)?(\d[\d,]*(?:\.\d\d)?)(?:\s?{_CURRENCY})?"
_BEFORE = (
    r"up ?to|at most|(?:a )?maximum(?: of)?|no more than|not more than|(?:do(?:es)?n.t|not) exceed|"
    r"budget (?:of|is)|limit (?:of|is)|less than|under|below|within(?: an?)?"
)
_LIMIT = re.compile(
    rf"\b(?:{_BEFORE})\s+(?:about\s+)?{_AMOUNT}|{_AMOUNT}\s+(?:budget|limit|maximum|at most)\b",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[A-Za-z0-9_-]*\d[A-Za-z0-9_-]*")
_DIGITS = 12
_MOST = 256
"""Names with digits that are told, the latest first."""


def limit_cents(request: Request) -> int | None:
    """The latest amount of money the user said they would not go beyond, in cents.

    Only what is written as money counts: "up to $600", "a 600 dollar limit", not "up to 3 bags".
    """
    for text in _latest_first(request):
        for match in reversed(list(_LIMIT.finditer(text))):
            amount = (match[1] or match[2]).replace(",", "")
            if _MONEY.search(match.group()) and len(amount) <= _DIGITS:
                return round(float(amount) * 100)
    return None


def names_said(request: Request) -> list[str]:
    """Everything with a digit in it that the user wrote: order numbers, last four digits."""
    found: dict[str, None] = {}
    for text in _latest_first(request):
        for match in _TOKEN.finditer(text):
            found.setdefault(match.group().strip("-_"))
    return sorted(list(found)[:_MOST])


def _latest_first(request: Request) -> Iterator[str]:
    yield request.text
    yield from (turn.text for turn in reversed(request.history) if turn.role == "user")
