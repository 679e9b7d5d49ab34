"""What the stage asks for, and what it is given: one recorded effect per request."""

from dataclasses import dataclass
from typing import Protocol

from interlock.bundles.model import RetrievalSpec
from interlock_contracts.retrieval import Chunk, Context, Dropped, Ranking, RetrievalOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One search. `scopes` and `sources` are sorted; nothing of it has a default."""

    query: str
    tenant: str
    scopes: tuple[str, ...]
    sources: tuple[str, ...]
    spec: RetrievalSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What was found, best first, and how: everything but the chunks goes into the record.

    `queries` are those that were made of the request's own, in the order they were searched.
    """

    index: str
    outcome: RetrievalOutcome
    rankings: tuple[Ranking, ...]
    dropped: tuple[Dropped, ...]
    chunks: tuple[Chunk, ...]
    queries: tuple[str, ...] = ()


class Search(Protocol):
    """The retriever's one capability; raises `RetryLater` where the engine does not answer."""

    async def search(self, request: SearchRequest) -> SearchResult:
        """The passages this principal may read that fit the query best."""


class Recorded:
    """A search that gives back what a `context` event recorded, for replays.

    `answers` says whether the record is of this very request; where it is not, the replay has
    diverged before the search.
    """

    def __init__(self, context: Context) -> None:
        if context.record is None:
            raise ValueError("this context holds no record of a search")
        self._record = context.record
        self._result = SearchResult(
            index=context.record.index,
            outcome=context.outcome,
            rankings=context.record.rankings,
            dropped=context.record.dropped,
            chunks=context.chunks,
            queries=context.record.queries[1:],
        )

    def answers(self, request: SearchRequest) -> bool:
        """Whether the same was asked, of the same tenant, with the same scopes and sources."""
        record = self._record
        return (record.queries[:1], record.tenants, record.scopes, record.sources) == (
            (request.query,),
            (request.tenant,),
            request.scopes,
            request.sources,
        )

    async def search(self, request: SearchRequest) -> SearchResult:
        """The recorded result; `LookupError` when something else is asked."""
        if not self.answers(request):
            raise LookupError("the record is of another search")
        return self._result
