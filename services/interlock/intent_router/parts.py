"""Does a request ask for several things? Cut where clauses begin, classify each, join what is one.

A clause counts by itself only where it is clear what it asks for, and where it opens as a request
does; everything else belongs to its neighbour. So a request is rather taken for one too many
things joined than for two that it is not.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from interlock.bundles.model import Intent
from interlock.intent_router.classification import Classification
from interlock.intent_router.features import plain_words

MOST_CLAUSES = 12
"""A text of more clauses is not cut: it is a story, and taken as one."""

LEAST_WORDS = 2
CLEAR_CONFIDENCE = 0.5
CLEAR_MARGIN = 0.3
CLEAR_SIMILARITY = 0.35
"""How sure it must be what a clause asks for, all three, before it counts by itself. Of few
examples less similarity will do: as much as they usually have to each other."""

_CUT = re.compile(
    r"(?P<end>[.!?;…]+[\"'”’)]*\s+|\s*\n\s*)"
    r"|\s*,?\s+(?:and then|and also|as well as|and|also|plus|then|but|additionally)\s+"
    r"|\s*,\s+(?=(?:can|could|would|will|please|what|where|when|how|who|why|which)\b)",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"(?:\s*(?:and|also|then|plus|but|oh|so|ok|okay|hi|hello|hey|secondly|additionally|finally|next"
    r"|please|by the way)\b[,\s]*)+",
    re.IGNORECASE,
)
_OPENS = """
    what what's whats where where's when when's how how's who who's why which whose can could
    would will do does did is are am was were should may might have has i i'd i'm i've i'll we
    please tell show give let
"""
_NEVER_OPENS = """
    a an the my your our his her its their this that these those it he she they to of for in on
    at by with from not no yes some any all both each if
"""
_OPENERS, _NO_OPENERS = frozenset(_OPENS.split()), frozenset(_NEVER_OPENS.split())
_LEANS_BACK = re.compile(r"(?i)\b(?:it|them|do (?:so|this|that)|one)\b")
_LEANS_FORWARD = re.compile(r"(?i)\s*(?:if|after|when|before|once|since|because|as|for|while)\b")
"""Clauses that are about what their neighbour says: "how do I do it", "if it is broken, …"."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a text, from `start` to `end`, and what it asks for."""

    start: int
    end: int
    found: Classification


def openers_of(examples: Iterable[str]) -> frozenset[str]:
    """The words that requests open with: question words, and what the examples open with."""
    first = {words[0] for text in examples if (words := plain_words(text))}
    return _OPENERS | (first - _NO_OPENERS)


def clauses_of(
    text: str,
    classify: Callable[[str], Classification],
    intents: Mapping[str, Intent],
    openers: Collection[str],
    usual: float = 1.0,
) -> tuple[Clause, ...]:
    """The parts of `text` that ask for different things; none where it asks for one.

    `usual` is how similar the examples of an intent usually are to each other, in 0..1.
    Neighbours that ask for the same are one part. Parts that only say something (an intent with
    a refusal, such as thanks or what is out of scope) are none.
    """
    spans = list(_cut(text, openers))
    if not 2 <= len(spans) <= MOST_CLAUSES:
        return ()
    parts: list[Clause] = []
    begin = 0
    similar = min(CLEAR_SIMILARITY, usual)
    for start, end in spans:
        clause = text[start:end]
        leans = _LEANS_BACK.search(clause) if parts else _LEANS_FORWARD.match(clause)
        found = classify(clause)
        intent = intents.get(found.intent)
        if (
            leans
            or intent is None
            or intent.refusal is not None
            or not _clear(clause, found, similar)
        ):
            if parts:  # it goes on with what was said before it
                last = parts[-1]
                parts[-1] = Clause(last.start, end, last.found)
            continue
        if parts and parts[-1].found.intent == found.intent:
            better = max(parts[-1].found, found, key=lambda one: one.confidence)
            parts[-1] = Clause(parts[-1].start, end, better)
        else:
            parts.append(Clause(begin if not parts else start, end, found))
    return tuple(parts) if len({one.found.intent for one in parts}) > 1 else ()


def _clear(text: str, found: Classification, similar: float) -> bool:
    """Whether it is clear by itself what a clause asks for."""
    return (
        found.failure is None
        and len(plain_words(text)) >= LEAST_WORDS
        and found.confidence >= CLEAR_CONFIDENCE
        and found.similarity >= similar
        and found.margin >= CLEAR_MARGIN
    )


def _cut(text: str, openers: Collection[str]) -> Iterator[tuple[int, int]]:
    """The clauses; one after a conjunction only where it opens as a request does."""
    start = 0
    for match in _CUT.finditer(text):
        if match["end"] is None and (
            not _opens(text[match.end() :], openers)
            or _LEAD.fullmatch(text[start : match.start()] + " ")  # "Also, can you …"
        ):
            continue
        if text[start : match.start()].strip():
            end = match.start() + (len(match["end"].rstrip()) if match["end"] else 0)
            yield start, end
        start = match.end()
    if text[start:].strip():
        yield start, len(text)


def _opens(text: str, openers: Collection[str]) -> bool:
    lead = _LEAD.match(text)
    rest = text[lead.end() :] if lead else text
    words = plain_words(rest[:80])
    return bool(words) and words[0] in openers
