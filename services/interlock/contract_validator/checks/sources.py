"""The places an argument value may come from: what was said, returned, retrieved, known.

What a tool returns is a system's record only as far as its contract says so (`records`); the
rest is content that others may have written. Content that the user pointed to (by naming the
page, the file, the channel in their own words) is told apart from content nobody asked for.
What an assistant said earlier is no source: a model must not vouch for itself. Neither is what
a system merely repeats of the arguments it was asked with.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from interlock.contract_validator.checks.identifiers import kind_of, kinds_in
from interlock.contract_validator.checks.matching import Needle, Text
from interlock.contract_validator.checks.text import leaves
from interlock_contracts.case import Case
from interlock_contracts.retrieval import Trust
from interlock_contracts.tools import ToolSpec
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
    """JSON a system returned: its leaves, less those it was asked with."""

    origin: Origin
    name: str
    leaves: tuple[Leaf, ...]


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

    @cached_property
    def _kinds(self) -> frozenset[str]:
        """The kinds of identifiers the user gave themselves (addresses, accounts, …)."""
        return frozenset(kind for words in self.said for kind in kinds_in(words.text.original))

    def places(self, facts: Iterable[Fact], value: Any = None) -> Iterator[Place]:
        """Most trustworthy first, as they stand for `value`.

        Content the user pointed to is no more than any other content where they themselves
        gave a value of this kind: who names one address has not asked for another.
        """
        for fact in facts:
            yield from self._fact(fact)
        yield from self._user
        given = kind_of(value) in self._kinds
        for place in self._rest:
            if given and place.origin is Origin.REFERRED:
                yield _with(place, Origin.UNTRUSTED)
            else:
                yield place

    def others_named(self, place: Values, leaf: Leaf) -> str | None:
        """Another value of the same list that the user named in their own words, or None."""
        for other in place.leaves:
            same = len(other.path) == len(leaf.path) and all(
                a == b or (isinstance(a, int) and isinstance(b, int))
                for a, b in zip(other.path, leaf.path, strict=True)
            )
            if not same or not isinstance(other.value, str) or other.value == leaf.value:
                continue
            needle = Needle(other.value)
            if any(words.text.find(needle) for words in self.said):
                return other.value
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
                content = Origin.REFERRED if _pointed_at(action) else Origin.UNTRUSTED
                name = f"result r{result.action}"
                yield from self._split(name, result.tool, own, Origin.RESULT, content)

    def _split(
        self, name: str, tool: str, own: Sequence[Leaf], record: Origin, content: Origin
    ) -> Iterator[Place]:
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


_RANK = {origin: rank for rank, origin in enumerate(Origin)}


def _with(place: Place, origin: Origin) -> Place:
    if isinstance(place, Words):
        return Words(origin, place.name, place.text)
    return Values(origin, place.name, place.leaves)


def _fits(path: Path, pattern: Sequence[str]) -> bool:
    return len(path) == len(pattern) and all(
        part == "*" or str(step) == part.replace("~1", "/").replace("~0", "~")
        for step, part in zip(path, pattern, strict=True)
    )


def _pointed_at(action: ActionVerdict | None) -> bool:
    """Whether the user's own words say what this call read: nothing else chose it."""
    if action is None:
        return False
    doubtful = {Origin.REFERRED, Origin.UNTRUSTED, Origin.INVENTED}
    origins = {one.path: one.origin for one in action.provenance}
    named = any(
        origin is Origin.USER and _telling(action.arguments.get(path[1:]))
        for path, origin in origins.items()
    )
    return named and not doubtful & set(origins.values())


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
