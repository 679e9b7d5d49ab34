"""Finding personal data in a text."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from phonenumbers import Leniency, PhoneNumberMatcher

from interlock.bundles.patterns import pattern
from interlock.bundles.privacy import KINDS, PrivacySpec
from interlock.runtime.privacy import checks
from interlock.runtime.privacy.capitals import proper_names
from interlock.runtime.privacy.national import national_ids
from interlock.runtime.privacy.recognisers import RECOGNISERS
from interlock_contracts.privacy import PLACEHOLDER

MAX_CHARS = 100_000
"""Longest text that is read; a request is shorter than that by contract."""

VERSION = 1
"""Raised when the recognisers find something else in the same text: what an index was made of
depends on it."""

_DIGITS = re.compile(r"\d")
_CHECKSUMS = {"luhn": checks.luhn, "mod97": checks.mod97}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something personal at `start` to `end` (code points, end exclusive); never the value."""

    start: int
    end: int
    kind: str
    score: float


EVERYTHING = PrivacySpec(kinds=KINDS)
"""All kinds that are known without a bundle."""


def detect(text: str, spec: PrivacySpec = EVERYTHING) -> tuple[Finding, ...]:
    """What is personal in `text`, in order and without overlaps; placeholders are left alone.

    With `NAME` among the kinds capitalised words count too where they look like names of people,
    firms and places: that finds most of them, and some words that are none.

    Raises:
        PatternTimeout: a pattern of the bundle took too long.
        ValueError: the text is longer than `MAX_CHARS`.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"the text has more than {MAX_CHARS} characters")
    taken = _Taken()
    for match in PLACEHOLDER.finditer(text):
        taken.take(*match.span())
    for allowed in (match for own in spec.allow for match in pattern(own).finditer(text)):
        taken.take(*allowed.span())
    wanted = {*spec.kinds, *(own.kind for own in spec.recognisers)}
    # All kinds compete, wanted or not: a date must not become a telephone number.
    candidates = sorted(
        _candidates(text, spec),
        key=lambda one: (-one.score, one.start - one.end, one.start, one.kind),
    )
    kept = [one for one in candidates if taken.take(one.start, one.end) and one.kind in wanted]
    return tuple(sorted(kept, key=lambda one: one.start))


class _Taken:
    """Spans that do not overlap, in order: a hostile text can have thousands of them."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def take(self, start: int, end: int) -> bool:
        """Take a span, unless some of it is taken already."""
        at = bisect_right(self._starts, start)
        free_before = at == 0 or self._ends[at - 1] <= start
        free_after = at == len(self._starts) or self._starts[at] >= end
        if start < end and free_before and free_after:
            self._starts.insert(at, start)
            self._ends.insert(at, end)
            return True
        return False


def _candidates(text: str, spec: PrivacySpec) -> Iterator[Finding]:
    for own in spec.recognisers:
        check = _CHECKSUMS[own.checksum] if own.checksum else None
        compiled = pattern(own.pattern, ignore_case=False)
        for found in compiled.finditer(text):
            group = 1 if compiled.groups else 0
            start, end = found.span(group)
            if start < end and (check is None or check(found[group])):
                yield Finding(start, end, own.kind, 1.0)
    for recogniser in RECOGNISERS:
        for match in recogniser.pattern.finditer(text):
            if recogniser.check is None or recogniser.check(match[1]):
                yield from _finding(match, recogniser.kind, recogniser.score)
    for start, end, kind in national_ids(text):
        # Only what is wanted: their many forms must not take a place from a kind that is.
        if kind in spec.kinds:
            yield Finding(start, end, kind, 1.0)
    if _DIGITS.search(text):
        for phone in PhoneNumberMatcher(text, "US", Leniency.POSSIBLE):
            yield Finding(phone.start, phone.end, "PHONE", 0.75)
    if "NAME" in spec.kinds:
        for start, end in proper_names(text):
            yield Finding(start, end, "NAME", 0.4)


def _finding(match: re.Match[str], kind: str, score: float) -> Iterator[Finding]:
    start, end = match.span(1 if match.re.groups else 0)
    if start < end:
        yield Finding(start, end, kind, score)
