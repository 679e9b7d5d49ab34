"""What is searched for besides the words as they stand. Deterministic; no model is asked.

A long text (a whole story, a forwarded mail) is searched for as it stands and by its aspects:
runs of sentences of about equal length. A short one takes up terms of what it finds first
(pseudo-relevance feedback: Lavrenko and Croft, "Relevance-Based Language Models", 2001).
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from interlock.retriever.keywords import term_index, terms
from interlock.retriever.vocabulary import Frequencies

LONG = 32
"""A query of more terms than this is long."""

ASPECT_TERMS = 8
"""An aspect has at least so many terms."""

DECIMALS = 6
"""Weights of terms are rounded to this: they are written into the record."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def aspects(text: str, most: int) -> tuple[str, ...]:
    """A long text cut after sentences into at most about `most` parts; none for a short one."""
    total = len(terms(text))
    if most < 2 or total <= LONG:
        return ()
    enough = max(ASPECT_TERMS, -(-total // most))
    found: list[str] = []
    current: list[str] = []
    count = 0
    for sentence in filter(None, (part.strip() for part in _SENTENCE_END.split(text))):
        current.append(sentence)
        count += len(terms(sentence))
        if count >= enough:
            found.append(" ".join(current))
            current, count = [], 0
    if count:
        found.append(" ".join(current))
    return tuple(found) if len(found) > 1 else ()


def select(words: Sequence[str], frequencies: Frequencies, most: int) -> Mapping[str, float]:
    """The terms of a query that weigh most (occurrences times idf), with their occurrences."""
    counts = Counter(words)
    if len(counts) <= most:
        return dict(counts)
    idf = _idf(counts, frequencies)
    ordered = sorted(counts, key=lambda term: (-counts[term] * idf[term], term))
    return {term: float(counts[term]) for term in ordered[:most] if idf[term]}


def feedback(
    words: Sequence[str],
    found: Sequence[tuple[Sequence[str], float]],
    frequencies: Frequencies,
    *,
    most: int,
    weight: float,
) -> Mapping[str, float]:
    """The query's terms, and `most` of what was found, weighed `1 - weight` to `weight`.

    `found` are the terms of passages with their scores. Nothing found gives the query's own.
    """
    counts = Counter(words)
    gained: dict[str, float] = {}
    idf = _idf({term for own, _ in found for term in own}, frequencies)
    for own, score in found:
        for term, count in sorted(Counter(own).items()):
            gained[term] = gained.get(term, 0.0) + score * count / len(own) * idf[term]
    chosen = sorted(gained, key=lambda term: (-gained[term], term))[:most]
    total = sum(gained[term] for term in chosen)
    if not total:
        return dict(counts)
    mixed = {term: (1 - weight) * count / len(words) for term, count in counts.items()}
    for term in chosen:
        mixed[term] = mixed.get(term, 0.0) + weight * gained[term] / total
    rounded = {term: round(value, DECIMALS) for term, value in mixed.items()}
    return {term: value for term, value in rounded.items() if value}


def spelled(weights: Mapping[str, float]) -> str:
    """Weighed terms as one line of a record, heaviest first: `refund^0.42 parcel^0.1`."""
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return " ".join(f"{term}^{value:g}" for term, value in ordered)


def dimensions(weights: Mapping[str, float], frequencies: Frequencies) -> dict[int, float]:
    """Weighed terms as a sparse vector, each times its idf; what nobody has is left out."""
    vector: dict[int, float] = {}
    for term, value in weights.items():
        vector[term_index(term)] = vector.get(term_index(term), 0.0) + value
    idf = frequencies.idf(vector)
    return {place: value * idf[place] for place, value in vector.items() if idf[place]}


def _idf(words: Collection[str], frequencies: Frequencies) -> dict[str, float]:
    places = {word: term_index(word) for word in words}
    idf = frequencies.idf(set(places.values()))
    return {word: idf[place] for word, place in places.items()}
