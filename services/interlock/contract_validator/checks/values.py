"""Do the numbers, dates, amounts and identifiers of an answer stand in what the model was given?

Given were the request and its conversation, what was retrieved, and what systems said: results of
tools, the arguments they were asked with, facts. A sentence may write a value another way (1,000
and 1000, 31 January 2026 and 2026-01-31, 19.99 and a system's 1999 cents); it may not work one
out. Numbers in words (English) are a source of figures, and are not held against any themselves.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from interlock.bundles.model import OutputContract
from interlock.contract_validator.checks.citations import is_question
from interlock.contract_validator.checks.dates import dates
from interlock.contract_validator.checks.grounding import sentences
from interlock.contract_validator.checks.identifiers import identifiers
from interlock.contract_validator.checks.matching import Needle, Text, readings
from interlock.contract_validator.checks.structure import is_heading
from interlock.contract_validator.checks.text import leaves, pointer, shown
from interlock_contracts.actions import Result
from interlock_contracts.case import Case
from interlock_contracts.failures import FailureCode
from interlock_contracts.proposal import Proposal, Statement
from interlock_contracts.retrieval import Chunk
from interlock_contracts.verdict import Violation, violation

_FIGURE = re.compile(r"(?<!\w)(?<![^\W\d_]-)\d+(?:[.,'’\u00a0\u202f]\d{3})*(?:[.,]\d+)?")
"""A number: not the tail of a word or of an identifier such as A-1001."""

_TIME_OF_DAY = re.compile(r"(?<=\d)T(?=\d)")
"""In 2026-05-06T10:00 the hour is a number too."""

_MIXED = re.compile(r"(?<!\w)(?=[\w-]{0,63}\d)(?=[\w-]{0,63}[^\W\d_])\w[\w-]*")
"""A word with digits in it: an identifier, or a number with its unit."""

_MEASURE = re.compile(r"(\d+)-?[^\W\d_]{1,12}(?:-[^\W\d_]{1,12})*")
"""5th, 30min, 60-day, 2-year-old: what counts is the number."""

_LABEL = re.compile(
    r"^[^\w\n]{0,8}(?:#\s?)?\d{1,3}\s?[.):](?=\s|$)|"
    r"\b(?:steps?|options?|points?|passages?)\s\d{1,3}(?:\s?(?:[-–,]|and|or|to)\s?\d{1,3})*\b",
    re.IGNORECASE | re.MULTILINE,
)
"""The number of an item in a list, or of a part of the answer, says nothing."""

_UNITS = re.findall(
    r"\w+",
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen""",
)
_TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = re.findall(r"\w+", "first second third fourth fifth sixth seventh eighth ninth tenth")
_NUMBER_WORDS = {
    **{word: number for number, word in enumerate(_UNITS)},
    **{word: 10 * number for number, word in enumerate(_TENS, 2)},
    **{word: number for number, word in enumerate(_ORDINALS, 1)},
    **{
        f"{ten}-{unit}": 10 * tens + units
        for tens, ten in enumerate(_TENS, 2)
        for units, unit in enumerate(_UNITS[1:10], 1)
    },
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
}
_NUMBER_WORD = re.compile(
    rf"\b(?:(?:{'|'.join(_TENS)})[- ](?:{'|'.join(_UNITS[1:10])})|{'|'.join(_NUMBER_WORDS)})\b",
    re.IGNORECASE,
)


class Given:
    """What values are held against: texts, and data that systems gave back."""

    def __init__(self, texts: Iterable[str], data: Iterable[Any] = ()) -> None:
        found = [value for one in data for _, value in leaves(one)]
        self.texts = [Text(one) for one in texts]
        self.texts += [Text(value) for value in found if isinstance(value, str)]
        self._data = [
            Decimal(str(value))
            for value in found
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]

    @cached_property
    def numbers(self) -> set[Decimal]:
        """Every number, as far as it can be meant; of data also as cents and as a share."""
        numbers = {value for one in self.texts for value in _numbers(one.original)}
        for value in map(abs, self._data):
            numbers.add(value)
            numbers.add(value / 100 if value == value.to_integral_value() else value * 100)
        return numbers

    @cached_property
    def dates(self) -> set[Any]:
        """Every date with its year."""
        return {day for one in self.texts for day, _ in dates(one.original)}

    def lacks(self, text: str) -> Iterator[str]:
        """Each value in `text` that stands nowhere here, as it is written, once."""
        return iter(dict.fromkeys(self._lacking(text)))

    def _lacking(self, text: str) -> Iterator[str]:
        text = _LABEL.sub(lambda match: " " * len(match.group()), text)
        days: dict[tuple[int, int], set[Any]] = {}
        for day, span in dates(text):
            days.setdefault(span, set()).add(day)
        for (start, end), meant in days.items():
            if meant.isdisjoint(self.dates):
                yield text[start:end]
        for start, end in days:
            text = _without(text, start, end)
        for _, written in identifiers(text):
            start = text.find(written)
            if not self._has(written):
                yield written
            text = _without(text, start, start + len(written))
        for match in _MIXED.finditer(text):
            measure = _MEASURE.fullmatch(match.group())
            if measure is None and not self._has(match.group()):
                yield match.group()
            if measure is not None and Decimal(measure[1]) not in self.numbers:
                yield match.group()
            text = _without(text, *match.span())
        for match in _FIGURE.finditer(text):
            if self.numbers.isdisjoint(readings(match.group())):
                yield match.group()

    def _has(self, written: str) -> bool:
        needle = Needle(written)
        return any(one.find(needle) is not None for one in self.texts)


def check_values(proposal: Proposal, case: Case, contract: OutputContract) -> list[Violation]:
    """value_not_in_source, for every value of a factual sentence that was given nowhere.

    Under `cited`, a sentence that cites is held against what it cites and what was asked. Data is
    held against all that was given; against what is cited it is held elsewhere.
    """
    if contract.values is None:
        return []
    places = _Places(case)
    found = []
    for at, statement in enumerate(proposal.statements):
        if is_heading(statement.text, contract.sections):
            continue
        cited = contract.values == "cited" and bool(statement.citations)
        given = places.cited(statement) if cited else places.all
        where = "what this cites or what was asked" if cited else "what the model was given"
        path = pointer("statements", at, "text")
        found += [_missing(path, value, where) for value in _lacking(statement, given)]
    for path_, value in leaves(proposal.data or {}) if contract.citations != "every" else ():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            path = pointer("data", *path_)
            where = "what the model was given"
            found += [_missing(path, one, where) for one in places.all.lacks(str(value))]
    return found


def _lacking(statement: Statement, given: Given) -> Iterator[str]:
    text = statement.text
    for start, end in sentences(text):
        if not is_question(text[start:end]):
            yield from given.lacks(text[start:end])


def _missing(path: str, value: str, where: str) -> Violation:
    message = f"{shown(value, 60)!r} does not stand in {where}"
    return violation(FailureCode.VALUE_NOT_IN_SOURCE, path, message)


@dataclass(frozen=True)
class _Places:
    """Where the values of one case may stand."""

    case: Case

    @cached_property
    def all(self) -> Given:
        """All that the model was given."""
        texts = [*self._asked(), *(text for one in self._chunks() for text in _texts(one))]
        return Given(texts, [value for _, one in self._results() for value in one])

    def cited(self, statement: Statement) -> Given:
        """What a statement cites, and what was asked."""
        handles = {one.handle for one in statement.citations}
        texts = [text for one in self._chunks() if one.handle in handles for text in _texts(one)]
        data = [value for handle, one in self._results() if handle in handles for value in one]
        return Given([*self._asked(), *texts], data)

    def _asked(self) -> list[str]:
        request = self.case.request
        return [request.text, request.principal.user, *(turn.text for turn in request.history)]

    def _chunks(self) -> tuple[Chunk, ...]:
        return self.case.context.chunks if self.case.context else ()

    def _results(self) -> Iterator[tuple[str, list[Any]]]:
        """By handle what came of each action, with what it was asked with and judged by."""
        for step in self.case.steps:
            asked = {one.action: one.arguments for one in step.verdict.actions}
            facts = [one.value for one in step.verdict.facts]
            for result in step.results:
                yield f"r{result.action}", [_said(result), asked.get(result.action), facts]


def _texts(chunk: Chunk) -> list[str]:
    return [chunk.text, chunk.title, chunk.url or "", chunk.document_id]


def _said(result: Result) -> list[Any]:
    return [result.output, result.failure.message if result.failure else None]


def _numbers(text: str) -> Iterator[Decimal]:
    """Every number of a source, the parts of dates and measures included."""
    for match in _FIGURE.finditer(_TIME_OF_DAY.sub(" ", text)):
        yield from readings(match.group())
    for match in _NUMBER_WORD.finditer(text):
        yield Decimal(_NUMBER_WORDS[match.group().casefold().replace(" ", "-")])


def _without(text: str, start: int, end: int) -> str:
    """The text with a value taken out; offsets stay."""
    return f"{text[:start]}{' ' * (end - start)}{text[end:]}"
