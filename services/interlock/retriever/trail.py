"""One search under way, and what it leaves for the record."""

import time
from dataclasses import dataclass, field

from interlock.retriever.documents import Passage
from interlock.retriever.index import DENSE, KEYWORD
from interlock.retriever.search import SearchRequest
from interlock.retriever.sparse import SPARSE, SPARSE_WEIGHT
from interlock.retriever.vocabulary import Frequencies
from interlock.runtime.embedding import Vectors
from interlock_contracts.retrieval import Ranking


@dataclass
class Trail:
    """One search under way: what was asked and found so far, in the order it happened."""

    request: SearchRequest
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
