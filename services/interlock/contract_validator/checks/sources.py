"""The places an argument value may come from: what was said, returned, retrieved, known.

What a tool returns is a system's record only as far as its contract says so (`records`); the
rest is content that others may have written. Content that the user pointed to (by naming the
page, the file, the channel in their own words) is told apart from content nobody asked for.
What an assistant said earlier is no source: a model must not vouch for itself. Neither is what
a system merely repeats of the arguments it was asked with.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from interlock.contract_validator.checks.identifiers import ALL_KINDS, kind_of, kinds_in
from interlock.contract_validator.checks.matching import Needle, Text
from interlock.contract_validator.checks.text import leaves
from interlock_contracts.case import Case
from interlock_contracts.retrieval import Trust
from interlock_contracts.tools import SAFE_ORIGINS, ToolSpec
from interlock_contracts.verdict import ActionVerdict, Fact, Origin

Path = tuple[str | int, ...]

_OWN_WORDS = 3
"""Letters and digits a value needs before naming it counts as pointing at something."""


class Leaf:
    """One value a system returned; text is normalised once, however often it is looked into.

    `whole`: the value counts as a record only as a whole, not what may stand inside it.
    """

    __slots__ = ("path", "text", "value", "whole")

    def __init__(self, path: Path, value: Any, *, whole: bool = False) -> None:
        self.path = path
        self.value = value
        self.whole = whole
        self.text = Text(value) if isinstance(value, str) else None

    def has(self, needle: Needle) -> bool:
        """Whether this is the value, or text that has it."""
        if self.text is not None and not self.whole:
            return self.text.find(needle) is not None
        return needle.equals(self.value)


@dataclass(frozen=True, slots=True)
class Values:
    """JSON a system returned: its leaves, less those it was asked with.

    `given` are the kinds of identifiers the user gave where they pointed to this.
    """

    origin: Origin
    name: str
    leaves: tuple[Leaf, ...]
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Words:
    """Text somebody wrote."""

    origin: Origin
    name: str
    text: Text


Place = Values | Words


class Sources:
    """Everything of one case a value may come from; costly parts are prepared on first use.

    `tools` are the bundle's contracts. Without them every result counts as a record.
    """

    def __init__(self, case: Case, tools: Mapping[str, ToolSpec] | None = None) -> None:
        self._case = case
        self._tools = tools
        request = case.request
        who = (Leaf(("user",), request.principal.user),)
        self.said: list[Words] = [Words(Origin.USER, "text", Text(request.text))]
        self.said += [
            Words(Origin.USER, f"history[{index}]", Text(turn.text))
            for index, turn in enumerate(request.history)
            if turn.role == "user"
        ]
        self._user: list[Place] = [Values(Origin.USER, "principal", who), *self.said]

    @cached_property
    def _rest(self) -> list[Place]:
        """Results and chunks, most trustworthy first."""
        found = [*self._results(), *self._chunks()]
        return sorted(found, key=lambda place: _RANK[place.origin])

    @cached_property
    def tainted(self) -> bool:
        """Whether anything was read that others may have written."""
        return any(place.origin in (Origin.REFERRED, Origin.UNTRUSTED) for place in self._rest)

    def places(self, facts: Iterable[Fact], value: Any = None) -> Iterator[Place]:
        """Most trustworthy first, as they stand for `value`.

        Content the user pointed to is no more than any other content where they themselves
        gave a value of this kind in the same sentence: who names one address has not asked
        for another.
        """
        for fact in facts:
            yield from self._fact(fact)
        yield from self._user
        kind = kind_of(value)
        for place in self._rest:
            if isinstance(place, Values) and kind in place.given:
                yield Values(Origin.UNTRUSTED, place.name, place.leaves)
            else:
                yield place

    @cached_property
    def dictated(self) -> list[str]:
        """What stands in quotation marks in content of others: words put in somebody's mouth."""
        return [
            match[2]
            for text in self._written()
            for match in islice(_QUOTATION.finditer(text), _MOST_QUOTATIONS)
            if len(match[2].split()) >= _QUOTED_WORDS
        ]

    def _written(self) -> Iterator[str]:
        for place in self._rest:
            if place.origin not in (Origin.REFERRED, Origin.UNTRUSTED):
                continue
            if isinstance(place, Words):
                yield place.text.original
            else:
                yield from (leaf.value for leaf in place.leaves if leaf.text is not None)

    def untrusted(self, needle: Needle) -> str | None:
        """The first place of untrusted content that has the value too, by name."""
        for place in self._rest:
            if place.origin not in (Origin.REFERRED, Origin.UNTRUSTED):
                continue
            if isinstance(place, Words):
                has = place.text.find(needle) is not None
            else:
                # A whole value may be a record; only what is named in a text is meant here.
                has = any(
                    leaf.text and leaf.value != needle.value and leaf.has(needle)
                    for leaf in place.leaves
                )
            if has:
                return place.name
        return None

    def others_named(self, place: Values, leaf: Leaf) -> str | None:
        """Another value of the same list that the user named in their own words, or None."""
        for other in place.leaves:
            same = len(other.path) == len(leaf.path) and all(
                a == b or (isinstance(a, int) and isinstance(b, int))
                for a, b in zip(other.path, leaf.path, strict=True)
            )
            if not same or not _telling(other.value) or other.value == leaf.value:
                continue
            needle = Needle(other.value)
            if any(words.text.find(needle) for words in self.said):
                return str(other.value)
        return None

    def _fact(self, fact: Fact) -> Iterator[Place]:
        own = _own(fact.value, fact.arguments)
        yield from self._split(f"fact {fact.name}", fact.tool, own, Origin.FACT, Origin.UNTRUSTED)

    def _results(self) -> Iterator[Place]:
        for step in self._case.steps:
            asked = {action.action: action for action in step.verdict.actions}
            for result in step.results:
                action = asked.get(result.action)
                own = _own(result.output, action.arguments if action else {})
                name = f"result r{result.action}"
                content, given = self._content(action)
                for place in self._split(name, result.tool, own, Origin.RESULT, content):
                    yield replace(place, given=given) if place.origin is content else place

    def _content(self, action: ActionVerdict | None) -> tuple[Origin, frozenset[str]]:
        """What the content this call brought counts as, and the kinds it has no say in."""
        origins = {one.origin for one in action.provenance} if action else set()
        if Origin.REFERRED in origins and origins <= {*SAFE_ORIGINS, Origin.REFERRED}:
            # Reached through what the user pointed to: its words may be passed on, but it
            # leads no further.
            return Origin.REFERRED, ALL_KINDS
        sentences = self._pointed_at(action)
        given = frozenset(kind for one in sentences for kind in kinds_in(one))
        return (Origin.REFERRED if sentences else Origin.UNTRUSTED), given

    def _pointed_at(self, action: ActionVerdict | None) -> list[str]:
        """The user's sentences that name what this call read; none if anything else chose it."""
        if action is None:
            return []
        doubtful = {Origin.REFERRED, Origin.UNTRUSTED, Origin.INVENTED}
        if any(one.origin in doubtful for one in action.provenance):
            return []
        named = [
            Needle(value)
            for one in action.provenance
            if one.origin is Origin.USER and _telling(value := action.arguments.get(one.path[1:]))
        ]
        return [
            sentence
            for words in self.said
            for sentence in sentences_of(words.text.original)
            if any(Text(sentence).find(needle) for needle in named)
        ]

    def _split(
        self, name: str, tool: str, own: Sequence[Leaf], record: Origin, content: Origin
    ) -> Iterator[Values]:
        """The records of a result, and the content in it, as two places."""
        contract = self._tools.get(tool) if self._tools is not None else None
        if self._tools is None or (contract and contract.records is None and contract.returns):
            yield Values(record, name, tuple(own))
            return
        known = contract.records or () if contract else ()
        patterns = [pattern.split("/")[1:] for pattern in known]
        whole = [leaf for leaf in own if any(_fits(leaf.path, one) for one in patterns)]
        if whole:
            yield Values(
                record, name, tuple(Leaf(one.path, one.value, whole=True) for one in whole)
            )
        # A record's text is content too, as to what stands inside it.
        loose = tuple(leaf for leaf in own if leaf not in whole or leaf.text is not None)
        if loose:
            yield Values(content, name, loose)

    def _chunks(self) -> Iterator[Place]:
        for chunk in self._case.context.chunks if self._case.context else ():
            origin = Origin.TRUSTED if chunk.trust is Trust.TRUSTED else Origin.UNTRUSTED
            yield Words(origin, chunk.handle, Text(chunk.text))


_QUOTATION = re.compile(r"(?<!\w)(['\"“‘«`]{1,2})(?=\w)([^\n\"”»`]{3,500}?)(?:\1|[”’»])(?!\w)")
_MOST_QUOTATIONS = 64
_QUOTED_WORDS = 3
"""Fewer words are a name, not something to be said."""

_RANK = {origin: rank for rank, origin in enumerate(Origin)}


_SENTENCE_END = re.compile(r"(?<=[.!?])(?:\s+|(?=[A-Z]))|\n+")


def sentences_of(text: str) -> list[str]:
    """The sentences of what a person wrote, roughly: also where the space was forgotten."""
    return [part for part in _SENTENCE_END.split(text) if part.strip()]


def _fits(path: Path, pattern: Sequence[str]) -> bool:
    return len(path) == len(pattern) and all(
        part == "*" or str(step) == part.replace("~1", "/").replace("~0", "~")
        for step, part in zip(path, pattern, strict=True)
    )


def _telling(value: Any) -> bool:
    return isinstance(value, str) and sum(map(str.isalnum, value)) >= _OWN_WORDS


def _own(value: Any, asked: Mapping[str, Any]) -> tuple[Leaf, ...]:
    """The leaves of `value`, without those that only repeat what was asked with."""
    echoes = [Needle(item) for _, item in leaves(asked)]
    return tuple(
        Leaf(path, item)
        for path, item in leaves(value)
        if not any(echo.equals(item) for echo in echoes)
    )
