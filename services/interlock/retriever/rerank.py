"""A second look at the first few: what a document's title shares with the query."""

from collections.abc import Collection, Mapping

from interlock.retriever.fusion import FINE, ordered, rounded
from interlock.retriever.keywords import terms_kept
from interlock.retriever.vocabulary import Frequencies
from interlock_contracts.retrieval import Ranking

TITLE = "title"
"""The name of the reranked list among a record's rankings."""

DEPTH = 50
"""How many of the first are looked at again."""


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
    return ordered(TITLE, scored)


def _coverage(
    title: str, query: Collection[str], frequencies: Frequencies, otherwise: float
) -> float:
    total = shared = 0.0
    for term in dict.fromkeys(terms_kept(title)):
        total += frequencies[term]
        if term in query:
            shared += frequencies[term]
    return shared / total if total else otherwise
