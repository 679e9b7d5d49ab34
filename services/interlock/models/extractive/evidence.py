"""The best supporting sentences of the retrieved chunks, each with its verbatim quote.

A sentence's score is the share of the question it covers, each term weighted by its inverse
sentence frequency within the context, scaled by how well its chunk was ranked. What supports
too little of the question is left out, and if nothing is left the model abstains.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from interlock.models.extractive.figures import HOW, fit, wanted
from interlock.models.extractive.sentences import Sentence, sentences
from interlock.models.extractive.words import asked_stems, related, stems
from interlock_contracts.retrieval import Chunk

MIN_COVERAGE = {1: 0.5, 2: 0.6, 3: 0.5}
"""A best sentence that covers less of a question of so many terms supports no answer. The fewer
terms, the more each of them is what the question is about."""

MIN_COVERAGE_OF_MANY = 0.4

KEEP_RATIO = 0.7
"""A further sentence must score at least this share of the best one."""

ADDING_RATIO = 0.55
"""The same for a sentence that has a word of the question which was not yet said."""

FURTHER_RATIO = 0.85
"""The same for a sentence of another chunk than the best one's, which repeats words more often than
it adds something, and for one with another figure where the best one has the figure asked for."""

NEAR_RATIO = 0.5
"""A chunk scores at least this share of the best one's for its words to count as the sources'."""

MAX_SENTENCES = 3
MAX_CHUNKS = 2
_TITLE_WEIGHT = 0.5
"""A term that only the title or heading above a sentence has counts half."""

_RELATED_WEIGHT = 0.8
"""So does a word that means about the same count less than the word itself."""

_LEAD_SHARE = 0.9
"""What the first sentence covers at least under a heading that is about all of the question."""

_LEAD_BONUS = 1.05
_SUBJECT_BONUS = 1.1
_ADDRESSED_BONUS = 1.15
_SPECIAL_CASE = 0.8
_SPECIAL_CASE_ASKED = 0.95
"""A sentence that holds only in a case that was not asked about says less."""

_FIRST_PERSON = re.compile(r"(?i)\b(?:i|my|we|our)\b")
_CODE = re.compile(r"(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]{2,}")
"""A name of letters and digits (E22): nothing without it answers a question about it."""


@dataclass(frozen=True, slots=True)
class Support:
    """A sentence that supports the answer, and the handle of its chunk."""

    handle: str
    sentence: Sentence


Refused = Callable[[str], bool]


def _nothing(_: str) -> bool:
    return False


def support(
    question: str, earlier: str, chunks: Sequence[Chunk], refused: Refused = _nothing
) -> list[Support]:
    """At most `MAX_SENTENCES` sentences of at most `MAX_CHUNKS` chunks, the best first.

    `earlier` is the user's turn before, for a question that makes no sense alone; `refused`
    says what must not be said, and what it raises is raised.
    """
    asked = _question(question, earlier)
    if not asked or not chunks:
        return []
    read = [(chunk, sentences(chunk.text)) for chunk in chunks]
    weights = _weights(asked, [one for _, found in read for one in found])
    # A follow-up is about its own words; the turn before only says in which respect.
    own = {term: weight for term, weight in weights.items() if asked[term] == 1.0}
    scored = _scored(question, weights, _telling(own, read), read, refused)
    if len(own) < len(weights):
        scored = [row for row in scored if row.tells]
    needed = MIN_COVERAGE.get(len(weights), MIN_COVERAGE_OF_MANY)
    if not scored or not scored[0].tells or scored[0].covered < needed:
        return []
    return [
        Support(read[at][0].handle, read[at][1][position])
        for at, position in _choose(scored, read, asked.keys(), wanted(question))
    ]


Read = Sequence[tuple[Chunk, tuple[Sentence, ...]]]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A sentence by its place (`at` is the chunk's), with what it covers and what it scores.

    `tells` says that it has one of the words that tell most of the question.
    """

    score: float
    at: int
    position: int
    covered: float
    tells: bool


def _question(question: str, earlier: str) -> dict[str, float]:
    asked = dict.fromkeys(asked_stems(HOW.sub(" ", question)), 1.0)
    if len(asked) < 3 and earlier:
        asked = dict.fromkeys(asked_stems(HOW.sub(" ", earlier)), 0.5) | asked
    return asked


def _weights(asked: Mapping[str, float], found: Sequence[Sentence]) -> dict[str, float]:
    """What each term of the question weighs; the terms together weigh one."""
    raw: dict[str, float] = {}
    for term, weight in asked.items():
        often = max(sum(word in one.stems for one in found) for word in (term, *related(term)))
        own = 2.0 if _CODE.fullmatch(term) else 1.0
        raw[term] = own * weight * math.log(1 + len(found) / (often or 1))
    whole = sum(raw.values()) or 1.0
    return {term: weight / whole for term, weight in raw.items()}


def _scored(
    question: str,
    weights: Mapping[str, float],
    telling: Set[str],
    read: Read,
    refused: Refused,
) -> list[_Scored]:
    """The sentences that could be said, those with one of the `telling` words first."""
    best_chunk = max(chunk.score for chunk, _ in read)
    figure = wanted(question)
    about_me = bool(_FIRST_PERSON.search(question))
    codes = {term for term in weights if _CODE.fullmatch(term)}
    words = {word for term in weights for word in (term, *related(term))}
    scored: list[_Scored] = []
    for at, (chunk, found) in enumerate(read):
        rank = 0.7 + 0.3 * chunk.score / best_chunk if best_chunk > 0 else 1.0
        title = frozenset(stems(chunk.title))
        titled = not telling.isdisjoint(title)
        for position, one in enumerate(found):
            if one.stems.isdisjoint(words) and not weights.keys() <= one.heading | title:
                continue
            tells = titled or not telling.isdisjoint(one.stems | one.heading)
            covered = _covered(one, title, weights)
            if not covered or not codes <= one.stems | one.heading | title:
                continue
            if refused(one.text):
                continue
            if one.leads and all(term in (one.heading or title) for term in weights):
                covered = max(covered, _LEAD_SHARE)
            score = covered * rank * (_LEAD_BONUS if one.leads else 1.0)
            if not one.subject.isdisjoint(weights):
                score *= _SUBJECT_BONUS
            if figure is not None:
                score *= fit(figure, one.text)
            if one.condition:
                asked = not telling.isdisjoint(one.condition)
                score *= _SPECIAL_CASE_ASKED if asked else _SPECIAL_CASE
            if about_me and one.addressed:
                score *= _ADDRESSED_BONUS
            scored.append(_Scored(score, at, position, covered, tells))
    return sorted(scored, key=lambda row: (not row.tells, -row.score, row.at, row.position))


def _telling(weights: Mapping[str, float], read: Read) -> set[str]:
    """The terms that tell most of the question, of those that the better chunks have at all.

    With the words related to them. A sentence without any of them is beside the point: another
    one has them. A chunk of a far lower rank has such a word by chance.
    """
    near = NEAR_RATIO * max(chunk.score for chunk, _ in read)
    better = [found for chunk, found in read if chunk.score >= near]
    said = frozenset().union(*(one.stems for found in better for one in found))
    known = {term: weight for term, weight in weights.items() if _has(said, term)}
    most = max(known.values(), default=0.0)
    telling = [term for term, weight in known.items() if weight >= 0.9 * most] or list(weights)
    return {word for term in telling for word in (term, *related(term))}


def _has(stems_: frozenset[str], term: str) -> bool:
    return term in stems_ or not related(term).isdisjoint(stems_)


def _covered(one: Sentence, title: frozenset[str], weights: Mapping[str, float]) -> float:
    """The share of the question that a sentence covers, with what stands above it.

    A sentence with none of the words is about the question only if what stands above it is about
    all of it.
    """
    above = one.heading | title
    share, own, terms = 0.0, False, 0
    for term, weight in weights.items():
        if term in one.stems:
            share, own, terms = share + weight, True, terms + 1
        elif not related(term).isdisjoint(one.stems):
            share, own, terms = share + _RELATED_WEIGHT * weight, True, terms + 1
        elif term in above:
            share, terms = share + _TITLE_WEIGHT * weight, terms + 1
    if terms < 2 and len(weights) == 3:
        return 0.0  # one rare word of three is not what the question is about
    return share if own or all(term in above for term in weights) else 0.0


def _choose(
    scored: Sequence[_Scored], read: Read, asked: Set[str], figure: re.Pattern[str] | None
) -> list[tuple[int, int]]:
    """The best one, then the others in reading order, its own chunk's first; nothing twice."""
    chosen: list[tuple[int, int]] = []
    best, home = scored[0].score, scored[0].at

    def figured(one: _Scored) -> bool:
        return bool(figure and figure.search(read[one.at][1][one.position].text))

    for one in scored:
        if len(chosen) == MAX_SENTENCES:
            break
        used = {chunk for chunk, _ in chosen}
        mine = read[one.at][1][one.position].stems
        ratio = FURTHER_RATIO
        if one.at == home and not (figured(one) and figured(scored[0])):
            said = frozenset().union(*(read[a][1][p].stems for a, p in chosen))
            ratio = KEEP_RATIO if (asked & mine) <= said else ADDING_RATIO
        if one.score < best * ratio:
            continue
        if one.at not in used and (len(used) == MAX_CHUNKS or not one.tells):
            continue
        others = (read[a][1][p].stems for a, p in chosen)
        if all(len(mine & other) < 0.7 * min(len(mine), len(other)) for other in others):
            chosen.append((one.at, one.position))
    first, *more = chosen
    return [first, *sorted(more, key=lambda place: (place[0] != home, place))]
