"""Checks of national identifiers: python-stdnum's, and those that it makes otherwise or not at all.

Its modules are loaded by the first number that needs one. Where it asks what day it is, the check
is made here without: a replay has to find what the request found.
"""

import re
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType

Check = Callable[[str], bool]

_NINO = re.compile(r"(?!BG|GB|NK|KN|TN|NT|ZZ)[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z]\d{6}[A-D]")
_NRIC_LETTERS = {
    "S": "JZIHGFEDCBA",
    "T": "GFEDCBAJZIH",
    "F": "XWUTRQPNMLK",
    "G": "RQPNMLKXWUT",
    "M": "XWUTRQPNJLK",
}


def stdnum(module: str, *, keeps: str = "") -> Check:
    """The check of a module of python-stdnum, such as `gb.nhs`. `keeps` are separators it needs."""

    def check(value: str) -> bool:
        try:
            return bool(_module(module).is_valid(_compacted(value, keeps)))
        except (LookupError, ValueError):  # some stumble over numbers that nobody has
            return False

    return check


def _module(name: str) -> ModuleType:
    return import_module(f"stdnum.{name}")


def _born(module: str, value: str) -> bool:
    """Whether the number begins with a date, as that country writes it."""
    try:
        _module(module).get_birth_date(value)
    except ValueError:  # stdnum's ValidationError is one
        return False
    return True


def _compacted(value: str, keeps: str = "") -> str:
    return "".join(c for c in value.upper() if c.isalnum() or c in keeps)


def _compact(check: Check) -> Check:
    """`check`, given letters (capital ones) and digits only."""

    @wraps(check)
    def compact(value: str) -> bool:
        return check(_compacted(value))

    return compact


@_compact
def nino(value: str) -> bool:
    """UK National Insurance: no check digit, but letters that are never given (HMRC NIM39110)."""
    return _NINO.fullmatch(value) is not None


@_compact
def medicare(value: str) -> bool:
    """Australian Medicare: the ninth digit is the weighted sum of the first eight, modulo 10."""
    total = sum(int(d) * w for d, w in zip(value[:8], (1, 3, 7, 9, 1, 3, 7, 9), strict=True))
    return value[0] in "23456" and total % 10 == int(value[8]) and value[9] != "0"


@_compact
def singapore_nric(value: str) -> bool:
    """Singapore's NRIC and FIN: the last letter follows from the weighted digits and the series."""
    series = value[0]
    if series not in _NRIC_LETTERS:
        return False
    total = sum(int(d) * w for d, w in zip(value[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    return _NRIC_LETTERS[series][(total + 3 * (series == "M")) % 11] == value[8]


@_compact
def hong_kong_id(value: str) -> bool:
    """Hong Kong's identity card: the weighted sum of all nine places is 0 modulo 11."""
    letters = value[:-7]
    places = [36] * (2 - len(letters)) + [int(c, 36) for c in value[:-1]]
    check = 10 if value[-1] == "A" else int(value[-1], 36)
    total = sum(place * weight for place, weight in zip(places, range(9, 1, -1), strict=True))
    return check <= 10 and (total + check) % 11 == 0


@_compact
def belgian_register(value: str) -> bool:
    """Belgium's register: 97 less the rest of the number, with a 2 before it since 2000."""
    month, day = int(value[2:4]), int(value[4:6])
    rests = {97 - int(century + value[:9]) % 97 for century in ("", "2")}
    # Months of numbers given to foreigners are 20 or 40 more; parts of a date may be unknown, 0.
    return month < 60 and month % 20 <= 12 and day <= 31 and int(value[9:]) in rests


@_compact
def danish_cpr(value: str) -> bool:
    """Denmark's number: a date. Its check digit has not been kept to since 2007."""
    return _born("dk.cpr", value)


@_compact
def norwegian_birth_number(value: str) -> bool:
    """Norway's number: a date (also of D- and H-numbers) and two check digits."""
    rules = _module("no.fodselsnummer")
    checks = str(rules.calc_check_digit1(value)) + str(rules.calc_check_digit2(value))
    return value[-2:] == checks and _born("no.fodselsnummer", value)


@_compact
def french_nir(value: str) -> bool:
    """France's number: a first digit that is given to somebody, and the check digits."""
    return value[0] in "123478" and bool(_module("fr.nir").is_valid(value))
