"""Finding personal data in a text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from phonenumbers import Leniency, PhoneNumberMatcher

from interlock.runtime.privacy.capitals import proper_names
from interlock.runtime.privacy.recognisers import RECOGNISERS

MAX_CHARS = 100_000
"""Longest text that is read; a request is shorter than that by contract."""

PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]*_[1-9][0-9]*\]")
_DIGITS = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something personal at `start` to `end` (code points, end exclusive); never the value."""

    start: int
    end: int
    kind: str
    score: float


@dataclass(frozen=True, slots=True)
class Custom:
    """A recogniser of the bundle: `kind` in capitals, and a pattern (group 1, if it has one)."""

    kind: str
    pattern: str


def detect(text: str, custom: Sequence[Custom] = (), *, names: bool = True) -> tuple[Finding, ...]:
    """What is personal in `text`, in order and without overlaps; placeholders are left alone.

    With `names` capitalised words count too where they look like names of people, firms and
    places: that finds most of them, and some words that are none.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"the text has more than {MAX_CHARS} characters")
    taken = [match.span() for match in PLACEHOLDER.finditer(text)]
    kept: list[Finding] = []
    candidates = sorted(
        _candidates(text, custom, names=names),
        key=lambda one: (-one.score, one.start - one.end, one.start, one.kind),
    )
    for one in candidates:
        if all(one.end <= start or one.start >= end for start, end in taken):
            taken.append((one.start, one.end))
            kept.append(one)
    return tuple(sorted(kept, key=lambda one: one.start))


def _candidates(text: str, custom: Sequence[Custom], *, names: bool) -> Iterator[Finding]:
    for own in custom:
        for match in re.finditer(own.pattern, text):
            yield from _finding(match, own.kind, 1.0)
    for recogniser in RECOGNISERS:
        for match in recogniser.pattern.finditer(text):
            if recogniser.check is None or recogniser.check(match[1]):
                yield from _finding(match, recogniser.kind, recogniser.score)
    if _DIGITS.search(text):
        for phone in PhoneNumberMatcher(text, "US", Leniency.POSSIBLE):
            yield Finding(phone.start, phone.end, "PHONE", 0.75)
    if names:
        for start, end in proper_names(text):
            yield Finding(start, end, "NAME", 0.4)


def _finding(match: re.Match[str], kind: str, score: float) -> Iterator[Finding]:
    start, end = match.span(1 if match.re.groups else 0)
    if start < end:
        yield Finding(start, end, kind, score)
