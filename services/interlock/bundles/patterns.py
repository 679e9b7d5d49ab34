"""Regular expressions that a bundle brings: Python's syntax, with a bound on their time.

Some patterns take exponential time on some texts. Whoever writes a request must not be able to
hang a service by hitting one of them, so every search is cut off.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

import regex  # type: ignore[import-untyped]  # regex ships no types

PATTERN_TIMEOUT_S = 0.25
"""How long one pattern may look through one text."""


class PatternTimeout(Exception):
    """A pattern took too long. The message names the pattern, never the text."""


class Match(Protocol):
    """What is used of a match."""

    def span(self, group: int = 0) -> tuple[int, int]:
        """Start and end of a group; -1 where it took no part."""

    def __getitem__(self, group: int) -> str:
        """The text of a group."""


class Pattern:
    """A compiled pattern. Its methods raise `PatternTimeout`."""

    __slots__ = ("_compiled", "groups", "source")

    def __init__(self, source: str, *, ignore_case: bool = True) -> None:
        """Raises `ValueError` with the reason if `source` is no regular expression."""
        try:
            self._compiled = regex.compile(source, regex.IGNORECASE if ignore_case else 0)
        except regex.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        self.groups: int = self._compiled.groups
        self.source = source

    def search(self, text: str) -> Match | None:
        """The first match in `text`, or None."""
        try:
            found: Match | None = self._compiled.search(text, timeout=PATTERN_TIMEOUT_S)
        except TimeoutError:
            raise self._too_long() from None
        return found

    def finditer(self, text: str) -> Iterator[Match]:
        """All matches in `text`, in order."""
        try:
            yield from self._compiled.finditer(text, timeout=PATTERN_TIMEOUT_S)
        except TimeoutError:
            raise self._too_long() from None

    def _too_long(self) -> PatternTimeout:
        return PatternTimeout(f"{self.source!r} took longer than {PATTERN_TIMEOUT_S} s")


@lru_cache(maxsize=1024)
def pattern(source: str, *, ignore_case: bool = True) -> Pattern:
    """The compiled pattern; raises `ValueError` as `Pattern` does."""
    return Pattern(source, ignore_case=ignore_case)
