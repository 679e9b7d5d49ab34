"""What is searched for besides the words as they stand. Deterministic; no model is asked.

A long text (a whole story, a forwarded mail) is searched for as it stands and by its aspects:
runs of sentences of about equal length. A short one takes up terms of what it finds first
(pseudo-relevance feedback: Lavrenko and Croft, "Relevance-Based Language Models", 2001).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.engines.index import half
from interlock.retriever.ranking.fusion import FINE, rounded
from interlock.retriever.ranking.keywords import term_index, terms
from interlock.retriever.ranking.vocabulary import Frequencies

LONG = 32
"""A query of more terms than this is long."""

ASPECT_TERMS = 8
"""An aspect has at least so many terms."""

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
    weighed = sorted([(-count * frequencies[term], term) for term, count in counts.items()])
    return {term: float(counts[term]) for weight, term in weighed[:most] if weight}


def feedback(
    words: Sequence[str],
    found: Sequence[tuple[Mapping[str, int], int, float]],
    frequencies: Frequencies,
    *,
    most: int,
    weight: float,
) -> Mapping[str, float]:
    """The query's terms, and `most` of what was found, weighed `1 - weight` to `weight`.

    `found` are passages: how often each term occurs, how many terms there are, the score.
    Nothing found gives the query's own.
    """
    counts = Counter(words)
    gained: dict[str, float] = {}
    for own, length, score in found:
        for term, count in own.items():
            gain = score * count / length * frequencies[term]
            gained[term] = gained.get(term, 0.0) + gain
    chosen = sorted([(-gain, term) for term, gain in gained.items()])[:most]
    total = -sum(gain for gain, _ in chosen)
    if not total:
        return dict(counts)
    mixed = {term: (1 - weight) * count / len(words) for term, count in counts.items()}
    for gain, term in chosen:
        mixed[term] = mixed.get(term, 0.0) - weight * gain / total
    made = {term: rounded(value, FINE) for term, value in mixed.items()}
    return {term: value for term, value in made.items() if value}


def nearer(
    query: NDArray[np.float32], found: Sequence[tuple[NDArray[np.float32], float]], weight: float
) -> NDArray[np.float32]:
    """The query's vector, moved towards those of what was found (Rocchio's feedback, 1971).

    `found` are unit vectors with their scores: their mean by score has `weight`, the query the
    rest. In double precision, and no finer than an index stores.
    """
    mean = sum((vector.astype(float) * score for vector, score in found), np.zeros(len(query)))
    if not mean.any():
        return query
    moved = (1 - weight) * query.astype(float) + weight * mean / np.sqrt(np.vecdot(mean, mean))
    return half((moved / np.sqrt(np.vecdot(moved, moved))).astype(np.float32))


def spelled(weights: Mapping[str, float]) -> str:
    """Weighed terms as one line of a record, heaviest first: `refund^0.42 parcel^0.1`."""
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return " ".join(f"{term}^{value:g}" for term, value in ordered)


def dimensions(weights: Mapping[str, float], frequencies: Frequencies) -> dict[int, float]:
    """Weighed terms as a sparse vector, each times its idf; what nobody has is left out."""
    vector: dict[int, float] = {}
    for term, value in weights.items():
        idf = frequencies[term]
        if idf:
            place = term_index(term)
            vector[place] = vector.get(place, 0.0) + value * idf
    return vector
