"""What personal data looks like: a pattern each, and a check where there is one.

Ordered: where two overlap, the one that is surer of itself is taken, then the longer one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from interlock.runtime.privacy import checks


@dataclass(frozen=True, slots=True)
class Recogniser:
    """A kind of personal data. Group 1 of the pattern is taken if it has one.

    `score` in 0..1 decides between overlapping findings.
    """

    kind: str
    pattern: re.Pattern[str]
    score: float
    check: Callable[[str], bool] | None = None


def _of(
    kind: str, score: float, pattern: str, check: Callable[[str], bool] | None = None
) -> Recogniser:
    return Recogniser(kind, re.compile(pattern), score, check)


_NOT_WITHIN = r"(?<![\w.-])"
_ENDS = r"(?![\w-])"
_UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĹĻĽŁŃŅŇŌŐŒŔŘŚŞŠŢŤŪŮŰŲŹŻŽΑ-ΩΆ-ΏА-ЯЁ"
_NAME = rf"[{_UPPER}][^\W\d_]+(?:['’.-][^\W\d_]+)*"
_NAMES = rf"{_NAME}(?:[ ](?:(?:[{_UPPER}]\.?|de|da|van|von|der|di|el|bin)[ ]){{0,2}}{_NAME}){{0,3}}"
_STREET = (
    r"(?:[Ss]treet|St\.|[Aa]venue|Ave\.?|[Rr]oad|Rd\.?|[Ll]ane|[Dd]rive|[Bb]oulevard|Blvd\.?|"
    r"[Ss]quare|[Cc]ourt|Hill|Way|Place|Terrace|[\w]*(?:straße|strasse|gasse|gatan|vej|katu|tie|"
    r"straat|weg|gade|vägen|veien))"
)
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|"
    r"Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)

RECOGNISERS: tuple[Recogniser, ...] = (
    _of("EMAIL", 1.0, r"(?<![\w.+-])([\w.+'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24})(?!\w)"),
    _of("CARD", 0.99, r"(?<!\d)(\d(?:[ -]?\d){11,18})(?!\d)", checks.card),
    _of(
        "IBAN",
        1.0,
        r"(?<!\w)([A-Za-z]{2}\d{2}(?: [A-Za-z0-9]{4}){2,7}(?: [A-Za-z0-9]{1,3})?)(?!\w)",
        checks.iban,
    ),
    _of("IBAN", 1.0, r"(?<!\w)([A-Za-z]{2}\d{2}[A-Za-z0-9]{11,30})(?!\w)", checks.iban),
    # Mistyped, and still somebody's.
    _of("IBAN", 0.9, r"(?<!\w)([A-Za-z]{2}\d{2}[A-Za-z]{0,4}\d{10,24})(?!\w)"),
    _of("SSN", 0.95, rf"{_NOT_WITHIN}(\d{{3}}-\d{{2}}-\d{{4}}){_ENDS}", checks.ssn),
    _of("IP", 0.95, r"(?<![\w.:])(\d{1,3}(?:\.\d{1,3}){3})(?![\w.]*\d)", checks.ip),
    _of("IP", 0.95, r"(?<![\w.:])([0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:])", checks.ip),
    _of("URL", 0.9, r"(?<!\w)((?:https?://|www\.)[^\s<>\"']{3,200}[\w/])"),
    _of("DATE", 0.8, rf"{_NOT_WITHIN}(\d{{4}}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?){_ENDS}"),
    _of("DATE", 0.8, rf"{_NOT_WITHIN}(\d{{1,2}}[/.]\d{{1,2}}[/.](?:\d{{4}}|\d\d)){_ENDS}"),
    _of("DATE", 0.8, rf"(?<!\w)({_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?){_ENDS}"),
    _of("DATE", 0.8, rf"(?<!\w)(\d{{1,2}} {_MONTH}(?: \d{{4}})?){_ENDS}"),
    _of("DATE", 0.6, r"(?<![\w$€£#-])((?:19|20)\d\d)(?![\w%-])"),
    _of("DATE", 0.6, r"(?<!\w)((?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)s?(?!\w)"),
    _of("PHONE", 0.85, r"(?<![\w./-])(\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?){2,5}\d)(?!\w)"),
    _of(
        "PHONE",
        0.7,
        r"(?<![\w./-])(\(?\d{2,5}\)?(?:[ .-]\(?\d{2,8}\)?){1,4})(?![\w/]|[.,-]\d)",
        checks.few_digits,
    ),
    _of("AGE", 0.7, r"(?i)(?<!\w)(\d{1,3})(?=[ -]years?(?:[ -]old)?\b)"),
    _of("AGE", 0.7, r"(?i)\b(?:aged?(?: of)?|i am|i'm|turned|turning) (\d{1,3})(?![\w%])"),
    _of(
        "ADDRESS",
        0.75,
        rf"(?<!\w)(\d{{1,5}}[A-Za-z]?(?: {_NAME}){{1,4}} {_STREET}(?:,? (?:Apt|Suite)\.? \d+)?)",
    ),
    _of("ADDRESS", 0.75, rf"(?<!\w)((?:{_NAME} ){{0,3}}{_STREET} \d{{1,5}}[A-Za-z]?)(?!\w)"),
    _of("ADDRESS", 0.75, rf"(?<!\w)((?:{_NAME} ){{1,3}}{_STREET})(?!\w)"),
    _of(
        "ADDRESS",
        0.75,
        rf"(?<!\w)({_NAME}(?: (?:{_NAME}|do|de|da|u|og)){{0,3}} \d{{1,4}}\.?)(?!\w)",
    ),
    _of("ADDRESS", 0.75, r"(?<!\w)((?:P\.?O\.? Box|Apt\.|Suite|Unit) ?\d{1,6})(?!\w)"),
    _of(
        "ADDRESS",
        0.5,
        r"(?<![\w$€£#.,-])(\d{5}(?:-\d{4})?|\d{4}|\d{3} \d\d|\d\d-\d{3})(?![\w%-]|[.,]\d)",
    ),
    _of("TITLE", 0.7, r"(?<!\w)((?:Mrs?|Ms|Dr|Prof)\.)"),
    _of("NAME", 0.8, rf"(?<!\w)(?:Mrs?|Ms|Dr|Prof|Miss)\.? ({_NAMES})"),
    _of(
        "NAME",
        0.8,
        rf"(?i:my name is|i am|i'm called|name:|dear|regards,|sincerely,|said) ({_NAMES})",
    ),
)
"""Kinds by pattern. `capitals.py` adds what only the shape of its words gives away."""
