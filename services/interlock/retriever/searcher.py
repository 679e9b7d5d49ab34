"""The searcher: rewriting, both legs, fusion, feedback, titles; every step on record."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from interlock.retriever.documents import Passage
from interlock.retriever.fusion import FUSED, fuse, keep
from interlock.retriever.index import DENSE, KEYWORD, Index, Query, half
from interlock.retriever.keywords import terms, terms_kept
from interlock.retriever.rerank import DEPTH, title_coverage
from interlock.retriever.rewrite import (
    LONG,
    aspects,
    dimensions,
    feedback,
    nearer,
    select,
    spelled,
)
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.retriever.vocabulary import Frequencies, Vocabulary
from interlock.runtime.embedding import TextEmbedder, Vectors
from interlock_contracts.retrieval import Chunk, Dropped, Hit, Ranking, RetrievalOutcome, Trust

FEEDBACK = "feedback"
"""What the names of the lists of the second search end with."""

ASPECTS = "aspects"
"""What the names of the lists end with that the parts of a long query make together."""

DENSE_WEIGHTS = {"wordllama": 0.3}
"""The dense leg's share by the first part of an embedder's name, as measured."""

OTHER_DENSE_WEIGHT = 0.5
"""The share of every other embedder: what suited a small transformer (MiniLM)."""


FEEDBACK_VECTOR = 0.3
"""What the best passages' vectors have of a short query's second one, where nothing is said."""


@dataclass
class _Trail:
    """One search under way: what was asked and found so far, in the order it happened."""

    request: SearchRequest
    words: list[str]
    frequencies: Frequencies
    dense_weight: float
    queries: list[str] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    passages: dict[str, Passage] = field(default_factory=dict)
    vector: Vectors | None = None

    def add(self, ranking: Ranking, step: str | None = None) -> Ranking:
        """Put a list on record, under another name if one is given."""
        named = ranking if step is None else Ranking(step=step, hits=ranking.hits)
        self.rankings.append(named)
        return named


class Searcher:
    """A `Search` over one index."""

    def __init__(self, index: Index, embedder: TextEmbedder, vocabulary: Vocabulary) -> None:
        self._index = index
        self._embedder = embedder
        self._vocabulary = vocabulary

    @property
    def identity(self) -> str:
        """The identity of the index that is searched."""
        return self._index.identity

    async def search(self, request: SearchRequest) -> SearchResult:
        """Ask both legs, fuse, look again, keep the best, and fetch what is kept."""
        trail = self._begin(request)
        fused = await self._first(trail)
        fused = await self._feedback(trail, fused)
        fused = await self._titles(trail, fused)
        kept, dropped = keep(fused, request.spec)
        passages = await self._fetch(trail, kept)
        # Only where the index is being filled right now can a passage be found and not fetched.
        gone = [hit for hit in kept if hit.chunk_id not in passages]
        kept = [hit for hit in kept if hit.chunk_id in passages]
        dropped += [Dropped(chunk_id=hit.chunk_id, reason="gone") for hit in gone]
        return SearchResult(
            index=self.identity,
            outcome=await self._outcome(request, fused, kept),
            queries=tuple(trail.queries),
            rankings=tuple(trail.rankings),
            dropped=tuple(dropped),
            chunks=tuple(
                _chunk(number, passages[hit.chunk_id], hit.score)
                for number, hit in enumerate(kept, 1)
            ),
        )

    def _begin(self, request: SearchRequest) -> _Trail:
        weight = request.spec.dense_weight
        return _Trail(
            request=request,
            words=terms(request.query),
            frequencies=self._vocabulary.readable(
                tenant=request.tenant, scopes=request.scopes, sources=request.sources
            ),
            dense_weight=dense_weight(self._embedder.name) if weight is None else weight,
        )

    async def _first(self, trail: _Trail) -> Ranking:
        """The whole query, and the aspects of a long one."""
        spec = trail.request.spec
        chosen = select(trail.words, trail.frequencies, spec.query_terms)
        trail.vector = half(self._embedder.embed([trail.request.query]))[0]
        whole = await self._legs(
            trail,
            Query(
                text=trail.request.query,
                dense=trail.vector,
                keyword=dimensions(chosen, trail.frequencies),
            ),
        )
        for leg in whole:
            trail.add(leg)
        weights = {KEYWORD: 1 - trail.dense_weight, DENSE: trail.dense_weight}
        parts = aspects(trail.request.query, spec.aspects)
        if not parts:
            return trail.add(fuse(whole, weights, spec.candidates))
        together = await self._aspects(trail, parts)
        share = spec.aspect_share
        shares = {name: weight * (1 - share) for name, weight in weights.items()}
        shares |= {f"{name}-{ASPECTS}": weight * share for name, weight in weights.items()}
        return trail.add(fuse([*whole, *together], shares, spec.candidates))

    async def _aspects(self, trail: _Trail, parts: Sequence[str]) -> list[Ranking]:
        """One list per leg: the mean of what each part finds, cut to the leg's depth."""
        depth = trail.request.spec.candidates
        trail.queries += parts
        found: dict[str, list[Ranking]] = {KEYWORD: [], DENSE: []}
        vectors = half(self._embedder.embed(parts))
        for number, (part, vector) in enumerate(zip(parts, vectors, strict=True), 1):
            keyword = dimensions(Counter(terms(part)), trail.frequencies)
            for leg in await self._legs(trail, Query(part, vector, keyword)):
                found[leg.step].append(trail.add(leg, f"{leg.step}-{number}"))
        together = []
        for name, legs in found.items():
            mean = fuse(legs, {leg.step: 1 / len(parts) for leg in legs}, depth)
            together.append(trail.add(Ranking(step=f"{name}-{ASPECTS}", hits=mean.hits[:depth])))
        return together

    async def _feedback(self, trail: _Trail, fused: Ranking) -> Ranking:
        """A short query again, with what its best passages speak of."""
        spec = trail.request.spec
        if not fused.hits or not trail.words or not spec.feedback_documents:
            return fused
        if len(trail.words) > LONG:
            return fused
        best = fused.hits[: spec.feedback_documents]
        passages = await self._fetch(trail, fused.hits[:DEPTH])
        found = [
            (terms_kept(passages[hit.chunk_id].searchable), hit.score)
            for hit in best
            if hit.chunk_id in passages
        ]
        weights = feedback(
            trail.words,
            found,
            trail.frequencies,
            most=spec.feedback_terms,
            weight=spec.feedback_weight,
        )
        trail.queries.append(spelled(weights))
        legs = await self._legs(
            trail,
            Query(
                text=spelled(weights),
                dense=await self._nearer(trail, best),
                keyword=dimensions(weights, trail.frequencies),
            ),
        )
        for leg in legs:
            trail.add(leg, f"{leg.step}-{FEEDBACK}")
        shares = {KEYWORD: 1 - trail.dense_weight, DENSE: trail.dense_weight}
        return trail.add(fuse(legs, shares, spec.candidates), f"{FUSED}-{FEEDBACK}")

    async def _nearer(self, trail: _Trail, best: Sequence[Hit]) -> Vectors | None:
        """The query's vector, moved towards the best passages'; of a query without one, none."""
        if trail.vector is None or not trail.vector.any():
            return None
        request = trail.request
        vectors = await self._index.vectors(
            [hit.chunk_id for hit in best],
            tenant=request.tenant,
            scopes=request.scopes,
            sources=request.sources,
        )
        share = request.spec.feedback_vector
        return nearer(
            trail.vector,
            [(vectors[hit.chunk_id], hit.score) for hit in best if hit.chunk_id in vectors],
            FEEDBACK_VECTOR if share is None else share,
        )

    async def _titles(self, trail: _Trail, fused: Ranking) -> Ranking:
        """The first again, by what their titles share with the query."""
        weight = trail.request.spec.title_weight
        if not weight or not fused.hits:
            return fused
        passages = await self._fetch(trail, fused.hits[:DEPTH])
        titles = {name: passage.title for name, passage in passages.items()}
        return trail.add(title_coverage(fused, titles, set(trail.words), trail.frequencies, weight))

    async def _legs(self, trail: _Trail, query: Query) -> tuple[Ranking, ...]:
        request = trail.request
        return await self._index.search(
            query,
            tenant=request.tenant,
            scopes=request.scopes,
            sources=request.sources,
            limit=request.spec.candidates,
        )

    async def _fetch(self, trail: _Trail, hits: Collection[Hit]) -> dict[str, Passage]:
        """The passages of these hits, and of all that were fetched before."""
        missing = [hit.chunk_id for hit in hits if hit.chunk_id not in trail.passages]
        if missing:
            trail.passages |= await self._index.fetch(
                missing,
                tenant=trail.request.tenant,
                scopes=trail.request.scopes,
                sources=trail.request.sources,
            )
        return trail.passages

    async def _outcome(
        self, request: SearchRequest, fused: Ranking, kept: Sequence[Hit]
    ) -> RetrievalOutcome:
        """Why there is nothing, where there is nothing."""
        if kept:
            return RetrievalOutcome.FOUND
        if fused.hits:
            return RetrievalOutcome.RANKED_OUT
        coverage = await self._index.coverage(
            tenant=request.tenant, scopes=request.scopes, sources=request.sources
        )
        if coverage.readable:
            return RetrievalOutcome.NOT_RETRIEVED
        if coverage.indexed:
            return RetrievalOutcome.FILTERED_OUT
        return RetrievalOutcome.NOTHING_INDEXED


def dense_weight(embedder: str) -> float:
    """The dense leg's share for an embedder of this name."""
    return DENSE_WEIGHTS.get(embedder.partition("-")[0], OTHER_DENSE_WEIGHT)


def _chunk(number: int, passage: Passage, score: float) -> Chunk:
    return Chunk(
        handle=f"c{number}",
        chunk_id=passage.chunk_id,
        document_id=passage.document_id,
        version=passage.version,
        digest=passage.digest,
        source=passage.source,
        tenant=passage.tenant,
        scopes=passage.scopes,
        trust=Trust(passage.trust),
        title=passage.title,
        url=passage.url,
        text=passage.text,
        score=score,
    )
