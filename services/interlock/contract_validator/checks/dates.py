"""Calendar dates as people write them: 2026-01-31, 31.01.2026, 1/31/2026, Jan 31st, 2026."""

import re
from collections.abc import Iterator
from datetime import date

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAME = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})(?!\w)"
_YEAR_FIRST = re.compile(
    r"(?<![\w./-])(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?=T\d\d:|[^\w/-]|$)", re.IGNORECASE
)
_YEAR_LAST = re.compile(r"(?<![\w./-])(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?![\w/-])")
_NAMED = (
    re.compile(rf"(?<![\w.-]){_DAY}\s(?:of\s)?{_NAME},?\s{_YEAR}", re.IGNORECASE),
    re.compile(rf"(?<!\w){_NAME}\s{_DAY},?\s{_YEAR}", re.IGNORECASE),
)

Found = tuple[date, tuple[int, int]]


def dates(text: str) -> Iterator[Found]:
    """Every date in the text with its offsets; of 5/6/2026 both that it may mean.

    Months are read in English. A date without its year is none: nothing says which it is.
    """
    for match in _YEAR_FIRST.finditer(text):
        year, _, month, day = match.groups()
        yield from _dated(year, month, day, match.span())
    for match in _YEAR_LAST.finditer(text):
        first, _, second, year = match.groups()
        yield from _dated(year, second, first, match.span())
        if first != second:
            yield from _dated(year, first, second, match.span())
    for pattern in _NAMED:
        for match in pattern.finditer(text):
            month = str(_MONTHS.index(match["month"][:3].lower()) + 1)
            yield from _dated(match["year"], month, match["day"], match.span())


def date_of(text: str) -> date | None:
    """The one date that a value is, and nothing else."""
    found = {day for day, span in dates(text.strip()) if span == (0, len(text.strip()))}
    return found.pop() if len(found) == 1 else None


def _dated(year: str, month: str, day: str, span: tuple[int, int]) -> Iterator[Found]:
    try:
        yield date(int(year), int(month), int(day)), span
    except ValueError:
        return
