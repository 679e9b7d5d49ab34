"""Whose choice was this action: the user's, or that of content somebody else wrote?

An action nobody but untrusted content asked for may be what an attacker wants. It is never
automatic: the requester is asked, and shown why.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import snowballstemmer  # type: ignore[import-untyped]  # ships no types

from interlock.contract_validator.checks.identifiers import identifiers, kind_of
from interlock.contract_validator.checks.matching import Needle, Text
from interlock.contract_validator.checks.provenance import locate, origins_for
from interlock.contract_validator.checks.sources import Sources, Values, sentences_of
from interlock.contract_validator.checks.text import leaves, pointer, shown
from interlock_contracts.failures import FailureCode
from interlock_contracts.routing import Risk
from interlock_contracts.tools import ToolSpec
from interlock_contracts.verdict import Fact, Origin, Provenance, Violation, violation

_QUOTED = re.compile(r"(?<!\w)(['\"“‘«])(?:(?!\1).){3,}?(?:\1|[”’»])(?!\w)", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+")
_STEMMER = snowballstemmer.stemmer("english")
_EMPTY = frozenset({"a", "an", "the", "to", "of", "in", "on", "for", "by", "my", "get"})


@lru_cache(maxsize=1024)
def _stems(text: str) -> tuple[str, ...]:
    words = [word for word in _WORD.findall(text.casefold()) if word not in _EMPTY]
    return tuple(_STEMMER.stemWords(words))


def asked_for(tool: ToolSpec, sources: Sources) -> bool:
    """Whether the user's words, quotations apart, ask for what this tool does.

    They do where all words of one of the contract's `asked_by` occur in one sentence, in any
    form; without any, where one word of the tool's name does.
    """
    phrases = tool.asked_by or tuple(tool.name.replace("-", "_").split("_"))
    for words in sources.said:
        for sentence in sentences_of(_QUOTED.sub(" ", words.text.original)):
            said = set(_stems(sentence))
            if any(said.issuperset(stems) for stems in map(_stems, phrases) if stems):
                return True
    return False


def concerns(
    index: int,
    tool: ToolSpec,
    arguments: Mapping[str, Any],
    provenance: Sequence[Provenance],
    facts: Sequence[Fact],
    sources: Sources,
) -> list[Violation]:
    """Why an otherwise sound call is not automatic: each reason, by code and place.

    Origins the contract wants confirmed; what inside a text only content of others has; a value
    both the user and such content name; a choice from a list of which the user named another; a
    choice nobody asked for.
    """
    found = [
        _concern(index, one.path, f"{one.origin}: {one.evidence}")
        for one in (provenance if tool.confirms else ())
        if one.origin in origins_for(tool, one.path)[1]
        and one.origin not in origins_for(tool, one.path)[0]
    ]
    if tool.effect == "read":
        return found
    if sources.tainted:
        found += _inside(index, arguments, facts, sources)
        found += _others(index, arguments, provenance, facts, sources)
        if tool.risk is Risk.HIGH:
            found += _contested(index, arguments, provenance, sources)
        if not asked_for(tool, sources):
            message = "nothing the user said asks for this; content that others wrote was read"
            path = pointer("calls", index, "tool")
            found.append(violation(FailureCode.UNTRUSTED_INSTRUCTION, path, message))
    return found


def _concern(index: int, path: str, message: str) -> Violation:
    untrusted = message.startswith((Origin.UNTRUSTED.value, Origin.REFERRED.value))
    code = FailureCode.UNTRUSTED_INSTRUCTION if untrusted else FailureCode.ARGUMENT_UNGROUNDED
    return violation(code, pointer("calls", index, "arguments") + path, shown(message, 300))


def _inside(
    index: int, arguments: Mapping[str, Any], facts: Sequence[Fact], sources: Sources
) -> Iterable[Violation]:
    """What stands inside longer texts although only content of others has it: addresses and
    accounts, and words it puts into somebody's mouth."""
    for path, value in leaves(arguments):
        if not isinstance(value, str) or kind_of(value) is not None:
            continue
        for _, written in identifiers(value):
            origin, evidence = locate(written, facts, sources)
            if origin in (Origin.UNTRUSTED, Origin.INVENTED):
                message = f"{origin}: {shown(written, 80)} in the text; {evidence}"
                yield _concern(index, pointer(*path), message)
        yield from _dictated(index, pointer(*path), value, sources)


def _dictated(index: int, path: str, value: str, sources: Sources) -> Iterable[Violation]:
    """Words that content of others has in quotation marks, and the user has not said."""
    text = Text(value)
    for quotation in sources.dictated:
        needle = Needle(quotation)
        if text.find(needle) and not any(words.text.find(needle) for words in sources.said):
            message = f"{Origin.UNTRUSTED}: content of others says to say {shown(quotation, 80)}"
            yield _concern(index, path, message)
            return


def _contested(
    index: int,
    arguments: Mapping[str, Any],
    provenance: Sequence[Provenance],
    sources: Sources,
) -> Iterable[Violation]:
    """Addresses and accounts the user gave, and content of others names too.

    Which of the two wants them used here, nobody can tell.
    """
    said = {one.path for one in provenance if one.origin is Origin.USER}
    for path, value in leaves(arguments):
        if pointer(*path) not in said or kind_of(value) is None:
            continue
        place = sources.untrusted(Needle(value))
        if place is not None:
            message = f"{Origin.UNTRUSTED}: content of others names it as well: {place}"
            yield _concern(index, pointer(*path), message)


def _others(
    index: int,
    arguments: Mapping[str, Any],
    provenance: Sequence[Provenance],
    facts: Sequence[Fact],
    sources: Sources,
) -> Iterable[Violation]:
    """Values picked from a list of which the user named another one."""
    picked = {one.path for one in provenance if one.origin is Origin.RESULT}
    for path, value in leaves(arguments):
        if pointer(*path) not in picked or not isinstance(value, str):
            continue
        needle = Needle(value)
        for place in sources.places(facts, value):
            if not isinstance(place, Values) or place.origin is not Origin.RESULT:
                continue
            leaf = next((leaf for leaf in place.leaves if leaf.has(needle)), None)
            other = sources.others_named(place, leaf) if leaf else None
            if other is not None:
                message = f"the user named {shown(other, 80)} of the same list, not this"
                yield _concern(index, pointer(*path), message)
                break
