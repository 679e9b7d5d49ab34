"""What kind of figure a question asks for, and how well a sentence has one."""

import re
from functools import lru_cache

HOW = re.compile(r"(?i)\bhow (?:many|much|long|old|far|soon|often|big|fast)\b")
"""Words that ask for a figure and are in no answer."""

_ANY = re.compile(
    r"(?i)\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|once|twice|first)\b"
)
_KINDS = (
    (
        re.compile(r"(?i)\b(?:how (?:long|soon|often)|when)\b"),
        re.compile(
            r"(?i)(?:\d|\b(?:one|two|three|four|six|eight|a|each|every|once)\b).{0,12}"
            r"\b(?:second|minute|hour|day|week|month|year|am|pm|use)s?\b"
        ),
    ),
    (
        re.compile(r"(?i)\bhow much\b|\b(?:costs?|prices?|fees?)\b"),
        re.compile(r"(?i)[$€£%]|\bfree\b|\d"),
    ),
    (HOW, _ANY),
)
_BONUS = 1.15
_NONE = 0.85


def wanted(question: str) -> re.Pattern[str] | None:
    """What a figure that answers this question looks like; None if it asks for none."""
    return next((answer for asks, answer in _KINDS if asks.search(question)), None)


@lru_cache(maxsize=8_192)
def fit(figure: re.Pattern[str], text: str) -> float:
    """What a sentence's score is multiplied by: more for such a figure, less for none at all."""
    if figure.search(text):
        return _BONUS
    return 1.0 if _ANY.search(text) else _NONE
