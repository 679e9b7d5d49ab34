"""Why was my document not found? Where one document fell out of one search."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from interlock.retriever.documents import BEGINNING, END, Passage
from interlock.retriever.engines.index import DENSE, KEYWORD
from interlock.retriever.external import EXTERNAL
from interlock.retriever.ranking.keywords import terms
from interlock.retriever.ranking.sparse import SPARSE
from interlock.retriever.search import Search, SearchRequest, SearchResult
from interlock_contracts.retrieval import Ranking, RetrievalOutcome

DEEPER = 1_000
"""How deep is looked for a passage that did not come among the candidates."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a passage stands in one ranked list; ranks count from 1."""

    step: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class PassageTrace:
    """One passage of the document: its places in the order of the steps, and its end.

    `dropped` is why it did not reach the context (None if it did, or was no candidate).
    `below` are its places in legs that were too short for it, when looked deeper.
    """

    chunk_id: str
    places: tuple[Place, ...]
    dropped: str | None
    below: tuple[Place, ...]
    shared_terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of the document. `outcome` is of this document, not of the whole search."""

    document_id: str
    outcome: RetrievalOutcome
    reason: str
    passages: tuple[PassageTrace, ...]


async def explain(
    search: Search,
    request: SearchRequest,
    document_id: str,
    indexed: Collection[Passage],
    withheld: Collection[str] = (),
) -> Explanation:
    """Search as asked, and say where the document fell out.

    `indexed` are the passages the index was made of (`all_passages`): the index itself names
    no passage that may not be read. `withheld` are sources of the route that no policy permits, and
    are not in the request. The answer is for whoever runs the installation, since it
    says so of such a document, too.
    """
    own = [one for one in indexed if one.document_id == document_id]
    if not own:
        result = await search.search(request)
        if traces := _found_elsewhere(document_id, result):
            return Explanation(document_id, *_verdict(traces, result), traces)
        if elsewhere := _not_given(request, document_id, result):
            return Explanation(document_id, *elsewhere, ())
    missing = _unreadable(request, own, withheld)
    if missing is not None:
        outcome, reason = missing
        return Explanation(document_id, outcome, reason, ())
    readable = [one for one in own if _may_read(request, one)]
    result = await search.search(request)
    deeper = None
    if not _found_in(result.rankings, readable):
        spec = request.spec.model_copy(update={"candidates": DEEPER})
        deeper = await search.search(replace(request, spec=spec))
    query = set(terms(request.query))
    traces = tuple(_trace(one, result, deeper, query) for one in readable)
    outcome, reason = _verdict(traces, result)
    return Explanation(document_id, outcome, reason, traces)


def _found_elsewhere(document_id: str, result: SearchResult) -> tuple[PassageTrace, ...]:
    """What an external source found of the document; what it has beside that is not known."""
    dropped = {each.chunk_id: each.reason for each in result.dropped}
    names = {hit.chunk_id for ranking in result.rankings for hit in ranking.hits}
    return tuple(
        PassageTrace(
            chunk_id=name,
            places=_places(name, result.rankings),
            dropped=dropped.get(name),
            below=(),
            shared_terms=(),
        )
        for name in sorted(names)
        if name.rpartition("#")[0] == document_id
    )


def _not_given(
    request: SearchRequest, document_id: str, result: SearchResult
) -> tuple[RetrievalOutcome, str] | None:
    """What is known of a document of an external source that is not among what it gave."""
    source = document_id.removeprefix(f"{request.tenant}/").partition("/")[0]
    given = [one for one in result.rankings if one.step == f"{EXTERNAL}-{source}"]
    if not given:
        return None
    here = f"source {source!r} is searched elsewhere"
    for one in result.dropped:
        if one.chunk_id == f"source-{source}":
            return RetrievalOutcome.FILTERED_OUT, f"{here}, and not for this reader: {one.reason}"
    withheld = Counter(one.reason for one in result.dropped if one.chunk_id.startswith("withheld-"))
    also = ", ".join(f"{number} by {reason}" for reason, number in sorted(withheld.items()))
    reason = f"{here}, and gave {len(given[0].hits)} others to this reader"
    return (
        RetrievalOutcome.NOT_RETRIEVED,
        f"{reason}; results withheld, unnamed: {also}" if also else reason,
    )


def _unreadable(
    request: SearchRequest, own: Sequence[Passage], withheld: Collection[str]
) -> tuple[RetrievalOutcome, str] | None:
    """Why no search of this principal could find it, if none could."""
    here = [one for one in own if one.tenant == request.tenant]
    if not here:
        elsewhere = ": it belongs to another tenant" if own else ": no passage has this document id"
        return RetrievalOutcome.NOTHING_INDEXED, f"not indexed for {request.tenant}{elsewhere}"
    if here[0].source in withheld:
        reason = f"no policy permits this reader its source {here[0].source!r}"
        return RetrievalOutcome.FILTERED_OUT, reason
    routed = [one for one in here if one.source in request.sources]
    if not routed:
        return (
            RetrievalOutcome.FILTERED_OUT,
            f"its source {here[0].source!r} is not among the route's: {', '.join(request.sources)}",
        )
    held = [one for one in routed if set(one.scopes).issubset(request.scopes)]
    if not held:
        needed = sorted(set(routed[0].scopes).difference(request.scopes))
        return RetrievalOutcome.FILTERED_OUT, f"scopes not held: {', '.join(needed)}"
    if not any(_is_valid(request, one) for one in held):
        return RetrievalOutcome.FILTERED_OUT, f"not valid at that time: {_validity(held[0])}"
    return None


def _is_valid(request: SearchRequest, one: Passage) -> bool:
    return request.at is None or one.valid_from <= request.at < one.valid_until


def _validity(one: Passage) -> str:
    """From when and until when, in words."""
    words = [
        f"{word} {datetime.fromtimestamp(limit / 1_000_000, UTC).isoformat()}"
        for word, limit, open_ in (
            ("from", one.valid_from, BEGINNING),
            ("until", one.valid_until, END),
        )
        if limit != open_
    ]
    return " ".join(words)


def _may_read(request: SearchRequest, one: Passage) -> bool:
    return (
        one.tenant == request.tenant
        and one.source in request.sources
        and set(one.scopes).issubset(request.scopes)
        and _is_valid(request, one)
    )


def _found_in(rankings: Sequence[Ranking], passages: Sequence[Passage]) -> bool:
    names = {one.chunk_id for one in passages}
    return any(hit.chunk_id in names for ranking in rankings for hit in ranking.hits)


def _trace(
    one: Passage, result: SearchResult, deeper: SearchResult | None, query: set[str]
) -> PassageTrace:
    legs = [
        ranking
        for ranking in (deeper.rankings if deeper else ())
        if ranking.step in (KEYWORD, DENSE, SPARSE)
    ]
    dropped = {each.chunk_id: each.reason for each in result.dropped}
    return PassageTrace(
        chunk_id=one.chunk_id,
        places=_places(one.chunk_id, result.rankings),
        dropped=dropped.get(one.chunk_id),
        below=_places(one.chunk_id, legs),
        shared_terms=tuple(sorted(query.intersection(terms(one.searchable)))),
    )


def _places(chunk_id: str, rankings: Sequence[Ranking]) -> tuple[Place, ...]:
    return tuple(
        Place(ranking.step, rank, hit.score)
        for ranking in rankings
        for rank, hit in enumerate(ranking.hits, 1)
        if hit.chunk_id == chunk_id
    )


def _verdict(traces: Sequence[PassageTrace], result: SearchResult) -> tuple[RetrievalOutcome, str]:
    kept = {chunk.chunk_id for chunk in result.chunks}
    if any(trace.chunk_id in kept for trace in traces):
        return RetrievalOutcome.FOUND, "in the context"
    candidates = [trace for trace in traces if trace.places]
    if not candidates:
        shared = (
            "shares terms with the query"
            if any(t.shared_terms for t in traces)
            else ("shares no term with the query")
        )
        below = [place for trace in traces for place in trace.below]
        if not below:
            return RetrievalOutcome.NOT_RETRIEVED, f"in neither leg; it {shared}"
        best = min(below, key=lambda place: (place.rank, place.step))
        return (
            RetrievalOutcome.NOT_RETRIEVED,
            f"below the candidates: {best.step} rank {best.rank}; it {shared}",
        )
    best_trace = min(candidates, key=lambda trace: (trace.places[-1].rank, trace.chunk_id))
    last = best_trace.places[-1]
    return (
        RetrievalOutcome.RANKED_OUT,
        f"{last.step} rank {last.rank}, dropped by {best_trace.dropped or 'a later step'}",
    )
