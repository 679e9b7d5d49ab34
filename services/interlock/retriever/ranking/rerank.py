"""A second look at the first few: titles, a reranker's own judgement, and diversity."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from interlock.retriever.ranking.fusion import FINE, document_of, reordered, rounded
from interlock.retriever.ranking.keywords import counts_kept
from interlock.retriever.ranking.vocabulary import Frequencies
from interlock_contracts.retrieval import Hit, Ranking

TITLE = "title"
"""The name of the reranked list among a record's rankings."""

RERANKED, DIVERSE = "reranked", "diverse"
"""The names of the lists that a reranker and diversity make."""

SIBLINGS = "siblings"
"""The name of the list in which passages of one document support each other."""

SIBLING_WEIGHT = 0.2
"""What the best other passage of its document adds to a passage, where nothing is said."""

DEPTH = 50
"""How many of the first are looked at again."""

RERANKED_DEPTH = 20
"""How many of them a reranker looks at, where nothing is said: it is slow."""


class Reranker(Protocol):
    """Judges how well passages fit a query, the same way every time.

    `name` identifies model and version; it is part of what is on record.
    """

    name: str

    async def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """A score for each text, of any range; raises `RetryLater` where it does not answer."""


def by_judgement(before: Ranking, judged: Mapping[str, float]) -> Ranking:
    """The judged ones first, by their scores as chances (logistic); the others after them.

    What was not judged is given its own share of the lowest chance, and so keeps its order.
    """
    chances = {name: 1 / (1 + math.exp(-max(score, -30.0))) for name, score in judged.items()}
    least = min(chances.values(), default=1.0)
    scored = [
        (hit.chunk_id, rounded(chances.get(hit.chunk_id, least * min(hit.score, 1.0)), FINE))
        for hit in before.hits
    ]
    return reordered(RERANKED, scored)


def diverse(
    before: Ranking, vectors: Mapping[str, NDArray[np.float32]], weight: float, limit: int
) -> Ranking:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): what is new comes first.

    One after the other, the passage is taken whose score, less `weight` times its likeness to
    the most similar one taken, is highest. Scores below 0 count as 0. Beyond `limit`, or without
    a vector, nothing is like anything.
    """
    left = {hit.chunk_id: hit.score for hit in before.hits}
    penalties = dict.fromkeys(left, 0.0)
    taken: list[tuple[str, float]] = []
    while left and len(taken) < limit:
        name = min(left, key=lambda one: (weight * penalties[one] - left[one], one))
        taken.append((name, rounded(max(left.pop(name) - weight * penalties[name], 0.0), FINE)))
        if name not in vectors:
            continue
        own = vectors[name].astype(float)
        for other in left.keys() & vectors.keys():
            penalties[other] = max(penalties[other], float(np.vecdot(vectors[other], own)))
    floor = taken[-1][1] if taken else 0.0
    rest = [
        (name, rounded(min(max(score - weight * penalties[name], 0.0), floor), FINE))
        for name, score in left.items()
    ]
    return reordered(DIVERSE, [*taken, *rest])


def supported(before: Ranking, weight: float) -> Ranking:
    """Each score and `weight` parts of the best other passage's of its document, in 0..1 again.

    A document that was found twice is more likely to be about it than one found once.
    """
    documents = [document_of(hit.chunk_id) for hit in before.hits]
    first: dict[str, Hit] = {}
    second: dict[str, Hit] = {}
    for document, hit in zip(documents, before.hits, strict=True):
        if document not in first:
            first[document] = hit
        else:
            second.setdefault(document, hit)
    scored = []
    for document, hit in zip(documents, before.hits, strict=True):
        other = first[document] if first[document] is not hit else second.get(document)
        score = hit.score + (weight * other.score if other else 0.0)
        scored.append((hit.chunk_id, rounded(score / (1 + weight), FINE)))
    return reordered(SIBLINGS, scored)


def title_coverage(
    fused: Ranking,
    titles: Mapping[str, str],
    query: Collection[str],
    frequencies: Frequencies,
    weight: float,
) -> Ranking:
    """Scores in 0..1 again: the fused ones, and `weight` parts of the title's coverage.

    Coverage is the share of the title's terms that the query (its terms) has, each term counted
    by its idf. `titles` are by chunk id. What has none keeps its score; what is below `DEPTH` is
    given nothing.
    """
    scored = []
    for place, hit in enumerate(fused.hits):
        coverage = 0.0
        if place < DEPTH:
            coverage = _coverage(titles.get(hit.chunk_id, ""), query, frequencies, hit.score)
        scored.append((hit.chunk_id, rounded((hit.score + weight * coverage) / (1 + weight), FINE)))
    return reordered(TITLE, scored)


def _coverage(
    title: str, query: Collection[str], frequencies: Frequencies, otherwise: float
) -> float:
    total = shared = 0.0
    for term in counts_kept(title)[0]:
        idf = frequencies[term]
        total += idf
        if term in query:
            shared += idf
    return shared / total if total else otherwise
