"""One search under way, and what it leaves for the record."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from interlock.retriever.documents import Passage
from interlock.retriever.engines.index import DENSE, KEYWORD, Index, Query
from interlock.retriever.ranking.sparse import SPARSE, SPARSE_WEIGHT
from interlock.retriever.ranking.vocabulary import Frequencies
from interlock.retriever.search import SearchRequest
from interlock.runtime.embedding import Vectors
from interlock_contracts.retrieval import Hit, Ranking


@dataclass
class Trail:
    """One search under way: what was asked and found so far, in the order it happened.

    The index is asked through it, and so always for the one who asks.
    """

    request: SearchRequest
    index: Index
    words: list[str]
    frequencies: Frequencies
    dense_weight: float
    queries: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    passages: dict[str, Passage] = field(default_factory=dict)
    vector: Vectors | None = None
    sparse: tuple[Ranking, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def add(self, ranking: Ranking, step: str | None = None) -> Ranking:
        """Put a list on record, under another name if one is given."""
        named = ranking if step is None else Ranking(step=step, hits=ranking.hits)
        self.rankings.append(named)
        return named

    def shares(self) -> dict[str, float]:
        """What each leg has of a fused score; the sparse leg, where there is one, of the words'."""
        said = self.request.spec.sparse_weight
        weight = SPARSE_WEIGHT if said is None else said
        words, sparse = 1 - self.dense_weight, weight if self.sparse else 0.0
        return {KEYWORD: words * (1 - sparse), DENSE: self.dense_weight, SPARSE: words * sparse}

    def lap(self, step: str) -> None:
        """Put on record how long it took since the last lap: milliseconds."""
        now = time.perf_counter()
        self.timings[step] = round((now - self._since) * 1e3, 2)
        self._since = now

    async def legs(self, query: Query) -> tuple[Ranking, ...]:
        """What each leg finds."""
        request = self.request
        return await self.index.search(
            replace(query, at=request.at),
            tenant=request.tenant,
            scopes=request.scopes,
            sources=request.sources,
            limit=request.spec.candidates,
        )

    async def fetch(self, hits: Collection[Hit]) -> dict[str, Passage]:
        """The passages of these hits, and of all that were fetched before."""
        missing = [hit.chunk_id for hit in hits if hit.chunk_id not in self.passages]
        if missing:
            self.passages |= await self.index.fetch(
                missing,
                tenant=self.request.tenant,
                scopes=self.request.scopes,
                sources=self.request.sources,
            )
        return self.passages

    async def vectors(self, hits: Sequence[Hit]) -> dict[str, Vectors]:
        """The vectors of these hits, as far as they have any."""
        return await self.index.vectors(
            [hit.chunk_id for hit in hits],
            tenant=self.request.tenant,
            scopes=self.request.scopes,
            sources=self.request.sources,
        )
