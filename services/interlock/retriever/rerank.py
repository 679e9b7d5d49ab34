"""A second look at the first few: what a document's title shares with the query."""

from collections.abc import Collection, Mapping

from interlock.retriever.fusion import DECIMALS, ordered
from interlock.retriever.keywords import term_index, terms_kept
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
    by its idf. `titles` are by chunk id; what is below `DEPTH`, or has none, is given nothing.
    """
    known = {
        hit.chunk_id: set(terms_kept(titles.get(hit.chunk_id, ""))) for hit in fused.hits[:DEPTH]
    }
    places = {term: term_index(term) for own in known.values() for term in own}
    by_place = frequencies.idf(set(places.values()))
    scored = []
    for hit in fused.hits:
        own = sorted(known.get(hit.chunk_id, ()))
        total = sum(by_place[places[term]] for term in own)
        shared = sum(by_place[places[term]] for term in own if term in query)
        score = (hit.score + weight * (shared / total if total else 0.0)) / (1 + weight)
        scored.append((hit.chunk_id, round(score, DECIMALS)))
    return ordered(TITLE, scored)
