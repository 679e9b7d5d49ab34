"""The searcher: rewriting, both legs, fusion, feedback, titles; every step on record."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from interlock.retriever.engines.index import DENSE, KEYWORD, Index, Query, half
from interlock.retriever.private import outside
from interlock.retriever.ranking.fusion import FUSED, dense_share, dense_weight, fuse, keep
from interlock.retriever.ranking.keywords import counts_kept, terms
from interlock.retriever.ranking.pooled import question_vectors
from interlock.retriever.ranking.rerank import (
    DEPTH,
    DIVERSE,
    RERANKED,
    RERANKED_DEPTH,
    SIBLING_WEIGHT,
    Reranker,
    by_judgement,
    diverse,
    supported,
    title_coverage,
)
from interlock.retriever.ranking.rewrite import (
    LONG,
    aspects,
    dimensions,
    feedback,
    nearer,
    select,
    spelled,
)
from interlock.retriever.ranking.sparse import SPARSE, query_weights
from interlock.retriever.ranking.vocabulary import Vocabulary
from interlock.retriever.search import Rewriter, SearchRequest, SearchResult, chunk_of, rewritten
from interlock.retriever.trail import Trail
from interlock.runtime.embedding import TextEmbedder, Vectors
from interlock_contracts.retrieval import Dropped, Hit, Ranking, RetrievalOutcome

FEEDBACK = "feedback"
"""What the names of the lists of the second search end with."""

ASPECTS = "aspects"
"""What the names of the lists end with that the parts of a long query make together."""

FEEDBACK_VECTOR = 0.25
"""What the best passages' vectors have of a short query's second one, where nothing is said."""


class Searcher:
    """A `Search` over one index."""

    def __init__(
        self,
        index: Index,
        embedder: TextEmbedder,
        vocabulary: Vocabulary,
        *,
        reranker: Reranker | None = None,
        rewriter: Rewriter | None = None,
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._vocabulary = vocabulary
        self._reranker = reranker
        self._rewriter = rewriter

    def using(self, *, reranker: Reranker | None, rewriter: Rewriter | None) -> "Searcher":
        """The same search with these."""
        parts = (self._index, self._embedder, self._vocabulary)
        return Searcher(*parts, reranker=reranker, rewriter=rewriter)

    @property
    def identity(self) -> str:
        """The identity of the index that is searched."""
        return self._index.identity

    async def search(self, request: SearchRequest) -> SearchResult:
        """Ask both legs, fuse, look again, keep the best, and fetch what is kept."""
        trail = await self._begin(request)
        found = await self._first(trail)
        found = await self._feedback(trail, found)
        found = self._siblings(trail, found)
        found = await self._titles(trail, found)
        found = await self._reranked(trail, found)
        found = await self._diverse(trail, found)
        kept, dropped = keep(found, request.spec)
        passages = await trail.fetch(kept)
        # Only where the index is being filled right now can a passage be found and not fetched.
        gone = [hit for hit in kept if hit.chunk_id not in passages]
        kept = [hit for hit in kept if hit.chunk_id in passages]
        dropped += [Dropped(chunk_id=hit.chunk_id, reason="gone") for hit in gone]
        outcome = self._outcome(request, found, kept)
        trail.lap("fetch")
        return SearchResult(
            index=self.identity,
            outcome=outcome,
            queries=tuple(trail.queries),
            outside=tuple(trail.outside),
            rankings=tuple(trail.rankings),
            dropped=tuple(dropped),
            chunks=tuple(
                chunk_of(number, passages[hit.chunk_id], hit.score)
                for number, hit in enumerate(kept, 1)
            ),
            timings=trail.timings,
        )

    async def _begin(self, request: SearchRequest) -> Trail:
        """With the query as the rewriter has it, and its vector."""
        weight = request.spec.dense_weight
        trail = Trail(
            request=request,
            index=self._index,
            words=[],
            frequencies=self._vocabulary.readable(
                tenant=request.tenant, scopes=request.scopes, sources=request.sources
            ),
            dense_weight=dense_weight(self._embedder.name) if weight is None else weight,
        )
        if self._rewriter is not None:
            written = await rewritten(self._rewriter, request.query, request.turns)
            if written != request.query:
                trail.queries.append(written)
                trail.request = replace(request, query=written)
            trail.lap("rewrite")
        trail.words = terms(trail.request.query)
        if outside(self._embedder):
            trail.outside.append(self._embedder.name)
        trail.vector = (await self._embedded(trail, [trail.request.query]))[0]
        trail.lap("embed")
        return trail

    async def _embedded(self, trail: Trail, texts: Sequence[str]) -> Vectors:
        return half(await question_vectors(self._embedder, texts, trail.frequencies))

    async def _first(self, trail: Trail) -> Ranking:
        """The whole query, and the aspects of a long one."""
        spec = trail.request.spec
        chosen = select(trail.words, trail.frequencies, spec.query_terms)
        whole = await trail.legs(
            Query(
                text=trail.request.query,
                dense=trail.vector,
                keyword=dimensions(chosen, trail.frequencies),
            ),
        )
        for leg in whole:
            trail.add(leg)
        trail.sparse = await self._sparse(trail)
        if spec.dense_weight is None:
            dense = next(leg for leg in whole if leg.step == DENSE)
            different = trail.frequencies.different_terms
            trail.dense_weight = dense_share(trail.dense_weight, dense, different)
        weights = trail.shares()
        parts = aspects(trail.request.query, spec.aspects)
        if not parts:
            trail.lap("search")
            return trail.add(fuse([*whole, *trail.sparse], weights, spec.candidates))
        together = await self._aspects(trail, parts)
        trail.lap("search")
        share = spec.aspect_share
        shares = {name: weight * (1 - share) for name, weight in weights.items()}
        shares |= {f"{name}-{ASPECTS}": weight * share for name, weight in weights.items()}
        # A sparse model sees the whole query alone: its list keeps its share.
        shares[SPARSE] = weights[SPARSE]
        return trail.add(fuse([*whole, *trail.sparse, *together], shares, spec.candidates))

    async def _sparse(self, trail: Trail) -> tuple[Ranking, ...]:
        """What the sparse model finds, if there is one and it has a share."""
        spec = trail.request.spec
        if spec.sparse_weight == 0:
            return ()
        weights = await query_weights(self._embedder, trail.request.query, spec.query_terms)
        if not weights:
            return ()
        words, *_ = await trail.legs(Query(trail.request.query, None, weights))
        return (trail.add(words, SPARSE),)

    async def _aspects(self, trail: Trail, parts: Sequence[str]) -> list[Ranking]:
        """One list per leg: the mean of what each part finds, cut to the leg's depth."""
        depth = trail.request.spec.candidates
        trail.queries += parts
        found: dict[str, list[Ranking]] = {KEYWORD: [], DENSE: []}
        vectors = await self._embedded(trail, parts)
        for number, (part, vector) in enumerate(zip(parts, vectors, strict=True), 1):
            keyword = dimensions(Counter(terms(part)), trail.frequencies)
            for leg in await trail.legs(Query(part, vector, keyword)):
                found[leg.step].append(trail.add(leg, f"{leg.step}-{number}"))
        together = []
        for name, legs in found.items():
            mean = fuse(legs, {leg.step: 1 / len(parts) for leg in legs}, depth)
            together.append(trail.add(Ranking(step=f"{name}-{ASPECTS}", hits=mean.hits[:depth])))
        return together

    async def _feedback(self, trail: Trail, fused: Ranking) -> Ranking:
        """A short query again, with what its best passages speak of."""
        spec = trail.request.spec
        if not fused.hits or not trail.words or not spec.feedback_documents:
            return fused
        if len(trail.words) > LONG:
            return fused
        best = fused.hits[: spec.feedback_documents]
        passages = await trail.fetch(fused.hits[:DEPTH])
        found = [
            (*counts_kept(passages[hit.chunk_id].searchable), hit.score)
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
        legs = await trail.legs(
            Query(
                text=spelled(weights),
                dense=await self._nearer(trail, best),
                keyword=dimensions(weights, trail.frequencies),
            ),
        )
        for leg in legs:
            trail.add(leg, f"{leg.step}-{FEEDBACK}")
        trail.lap(FEEDBACK)
        fused = fuse([*legs, *trail.sparse], trail.shares(), spec.candidates)
        return trail.add(fused, f"{FUSED}-{FEEDBACK}")

    async def _nearer(self, trail: Trail, best: Sequence[Hit]) -> Vectors | None:
        """The query's vector, moved towards the best passages'; of a query without one, none."""
        if trail.vector is None or not trail.vector.any():
            return None
        vectors = await trail.vectors(best)
        share = trail.request.spec.feedback_vector
        return nearer(
            trail.vector,
            [(vectors[hit.chunk_id], hit.score) for hit in best if hit.chunk_id in vectors],
            FEEDBACK_VECTOR if share is None else share,
        )

    def _siblings(self, trail: Trail, fused: Ranking) -> Ranking:
        """Passages of one document support each other."""
        said = trail.request.spec.sibling_weight
        weight = SIBLING_WEIGHT if said is None else said
        return trail.add(supported(fused, weight)) if weight and fused.hits else fused

    async def _titles(self, trail: Trail, fused: Ranking) -> Ranking:
        """The first again, by what their titles share with the query."""
        weight = trail.request.spec.title_weight
        if not weight or not fused.hits:
            return fused
        passages = await trail.fetch(fused.hits[:DEPTH])
        titles = {name: passage.title for name, passage in passages.items()}
        return trail.add(title_coverage(fused, titles, set(trail.words), trail.frequencies, weight))

    async def _reranked(self, trail: Trail, found: Ranking) -> Ranking:
        """The first by the reranker's judgement, if there is one."""
        most = trail.request.spec.rerank
        first = found.hits[: RERANKED_DEPTH if most is None else most]
        if self._reranker is None or not first:
            return found
        passages = await trail.fetch(first)
        texts = {
            hit.chunk_id: passages[hit.chunk_id].searchable
            for hit in first
            if hit.chunk_id in passages
        }
        if outside(self._reranker):
            trail.outside.append(self._reranker.name)
        scores = await self._reranker.scores(trail.request.query, list(texts.values()))
        trail.lap(RERANKED)
        return trail.add(by_judgement(found, dict(zip(texts, scores, strict=True))))

    async def _diverse(self, trail: Trail, found: Ranking) -> Ranking:
        """What is like the passages before it further down, where that is asked for."""
        request = trail.request
        weight = request.spec.diversity
        if not weight or not found.hits:
            return found
        vectors = await trail.vectors(found.hits[:DEPTH])
        trail.lap(DIVERSE)
        return trail.add(diverse(found, vectors, weight, request.spec.limit))

    def _outcome(
        self, request: SearchRequest, fused: Ranking, kept: Sequence[Hit]
    ) -> RetrievalOutcome:
        """Why there is nothing, where there is nothing."""
        if kept:
            return RetrievalOutcome.FOUND
        if fused.hits:
            return RetrievalOutcome.RANKED_OUT
        coverage = self._vocabulary.coverage(
            tenant=request.tenant, scopes=request.scopes, sources=request.sources
        )
        if coverage.readable:
            return RetrievalOutcome.NOT_RETRIEVED
        if coverage.indexed:
            return RetrievalOutcome.FILTERED_OUT
        return RetrievalOutcome.NOTHING_INDEXED
