"""Finding a value in text or data however it is written: case, spacing, numbers, money, dates."""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from typing import Any

from interlock.contract_validator.checks.dates import Found, date_of, dates

_WORD = re.compile(r"[^\W\d_]+|\d+")
_NUMBER = re.compile(
    r"""(?<![\w])(?<!\w[-./])            # not the tail of a word, an identifier or a date
    (?P<before>[€$£¥]\s?|(?:EUR|USD|GBP|CHF)\s?)?
    (?P<sign>[-−])?
    (?P<digits>\d+(?:[.,'’\u00a0\u202f]\d{3})*(?:[.,]\d+)?)
    (?![.,/-]?\d)
    (?P<after>\s?(?:[€$£¥]|(?:EUR|USD|GBP|CHF|euros?|dollars?|pounds?|francs?)\b))?
    (?![^\W\d_]{3}|[-/]\w)              # nor the head of one
    """,
    re.VERBOSE | re.IGNORECASE,
)

_GROUPING = dict.fromkeys(map(ord, "'’\u00a0\u202f"))
_MARKS = dict.fromkeys(map(ord, ".,"))

_LONGEST_DATE = 30


def normal(text: str) -> str:
    """Words and digit groups in lower case, one space between and around them."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return f" {' '.join(words)} "


_ADDRESS = re.compile(r"\S*\w[@/.:\\]\S*")
"""An e-mail address, a URL, a path, a decimal: its punctuation is part of what it says."""


_ACCOUNT = re.compile(r"\+?[A-Za-z0-9][A-Za-z0-9 ()/.-]{5,40}")
_DIGITS = 7
"""An account or telephone number has this many digits; it may be grouped in any way."""


def _address(text: str) -> re.Pattern[str]:
    """An address as such, with or without scheme and final slash.

    A dot and a letter after it make it another one, but where a new sentence starts.
    """
    bare = re.sub(r"^https?://", "", text.rstrip("/"), flags=re.IGNORECASE)
    after = r"(?![\w@/:&=%#-]|[.?](?!(?-i:[A-Z][a-z]+)(?:\s|$))\w)"
    around = rf"(?<![\w@/.:-])(?:https?://)?{re.escape(bare)}/?{after}"
    return re.compile(around, re.IGNORECASE)


def _spaced(text: str) -> re.Pattern[str]:
    """An account or telephone number, however it is grouped."""
    letters = [re.escape(char) for char in text if char.isalnum()]
    between = r"[\u00a0 ()/.-]{0,2}"
    return re.compile(rf"(?<![\w-])[+(]{{0,2}}{between.join(letters)}(?![\w-])", re.IGNORECASE)


class Needle:
    """One value to look for."""

    __slots__ = ("date", "exact", "number", "text", "value", "words")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.text = value if isinstance(value, str) else ""
        self.words = normal(self.text) if self.text else ""
        self.exact: re.Pattern[str] | None = None
        if _ADDRESS.fullmatch(self.text):
            # a@b.com does not stand in a@b.com.evil.org, nor in x-a@b.com
            self.exact = _address(self.text)
        elif _ACCOUNT.fullmatch(self.text) and sum(map(str.isdigit, self.text)) >= _DIGITS:
            self.exact = _spaced(self.text)
        self.date = date_of(self.text) if 8 <= len(self.text) <= _LONGEST_DATE else None
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        self.number = Decimal(str(value)) if plain else None

    def equals(self, item: Any) -> bool:
        """Whether `item` is the same value, written the same or another way."""
        other = Needle(item)
        if self.number is not None or other.number is not None:
            return self.number is not None and self.number == other.number
        if self.date is not None and self.date == other.date:
            return True
        if not self.text or not other.text:
            return bool(self.value == item)
        if self.exact is not None and other.exact is not None:
            return self.exact.fullmatch(other.text.strip()) is not None
        if not self.words.strip():
            return self.text.casefold() == other.text.casefold()
        return self.words == other.words


class Text:
    """Text to look in; normalised only when something is looked for."""

    def __init__(self, original: str) -> None:
        self.original = original

    @cached_property
    def _words(self) -> str:
        return normal(self.original)

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        """Where each word stands."""
        return [match.span() for match in _WORD.finditer(self.original)]

    @cached_property
    def _numbers(self) -> list[tuple[Decimal, tuple[int, int]]]:
        return list(_numbers(self.original))

    @cached_property
    def _dates(self) -> list[Found]:
        return list(dates(self.original))

    @cached_property
    def amounts(self) -> list[Decimal]:
        """Every number in the text, as written: what other numbers may be derived from."""
        first = (readings(match["digits"])[0] for match in _NUMBER.finditer(self.original))
        return list(dict.fromkeys(first))

    def find(self, needle: Needle) -> tuple[int, int] | None:
        """Where the value stands, as offsets into the original text, or None."""
        if needle.number is not None:
            hits = (span for number, span in self._numbers if number == needle.number)
            return next(hits, None)
        if not needle.text:
            return None
        if needle.date is not None:
            hits = (span for day, span in self._dates if day == needle.date)
            if (hit := next(hits, None)) is not None:
                return hit
        if needle.exact is not None:
            found = needle.exact.search(self.original)
            return found.span() if found else None
        if not needle.words.strip():
            at = self.original.find(needle.text)
            return (at, at + len(needle.text)) if at >= 0 else None
        at = self._words.find(needle.words)
        return None if at < 0 else self._span(at, needle.words)

    def _span(self, at: int, words: str) -> tuple[int, int]:
        """From an offset in the normalised text back to the original."""
        first = self._words.count(" ", 0, at)
        count = words.count(" ") - 1
        spans = self._spans
        if first + count > len(spans):
            return 0, len(self.original)  # normalising changed the number of words
        return spans[first][0], spans[first + count - 1][1]


def _numbers(text: str) -> Iterator[tuple[Decimal, tuple[int, int]]]:
    """Every number in the text, money also in its hundredth: "19.99" is 19.99 and 1999."""
    for match in _NUMBER.finditer(text):
        money = bool(match["before"] or match["after"])
        for value in readings(match["digits"]):
            signed = -value if match["sign"] else value
            yield signed, match.span()
            if money or value.as_tuple().exponent == -2:
                yield signed * 100, match.span()


def readings(digits: str) -> list[Decimal]:
    """What a written number may mean: "1,234" is 1234 to some and 1.234 to others."""
    if digits.isdecimal():
        return [Decimal(digits)]
    bare = digits.translate(_GROUPING)
    marks = [mark for mark in bare if mark in ".,"]
    if not marks:
        return [Decimal(bare)]
    last = marks[-1]
    whole, _, fraction = bare.rpartition(last)
    decimal = Decimal(f"{whole.translate(_MARKS)}.{fraction}")
    grouped = Decimal(bare.translate(_MARKS))
    if len(set(marks)) > 1:
        return [decimal]
    if len(marks) > 1:
        return [grouped]
    return [decimal, grouped] if len(fraction) == 3 else [decimal]
