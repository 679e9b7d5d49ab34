"""What the stage asks for, and what it is given: one recorded effect per request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from interlock.bundles.knowledge import RetrievalSpec
from interlock.retriever.documents import Passage
from interlock.runtime.errors import RetryLater
from interlock_contracts.failures import FailureCode
from interlock_contracts.retrieval import Chunk, Context, Dropped, Ranking, RetrievalOutcome, Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One search. `scopes` and `sources` are sorted; who may read what has no default.

    `turns` is what the user said before, for whoever rewrites the query. Only what is valid `at`
    this moment (microseconds since 1970) is found; None asks for nothing.
    """

    query: str
    tenant: str
    scopes: tuple[str, ...]
    sources: tuple[str, ...]
    spec: RetrievalSpec
    turns: tuple[str, ...] = ()
    at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What was found, best first, and how: everything but the chunks goes into the record.

    `queries` are those that were made of the request's own, in the order they were searched.
    `outside` are the parts that texts were sent to. `timings` are milliseconds by step; two results
    that differ in nothing else are equal.
    """

    index: str
    outcome: RetrievalOutcome
    rankings: tuple[Ranking, ...]
    dropped: tuple[Dropped, ...]
    chunks: tuple[Chunk, ...]
    queries: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict, compare=False)


class Search(Protocol):
    """The retriever's one capability; raises `RetryLater` where the engine does not answer."""

    async def search(self, request: SearchRequest) -> SearchResult:
        """The passages this principal may read that fit the query best."""


class Rewriter(Protocol):
    """Makes the query that is searched of the user's words and what they said before.

    Without one the words are searched as they stand (a short follow-up with the turn before it,
    `stage.query_text`). What it writes is on record, so a replay does not ask it again.
    """

    async def rewrite(self, query: str, turns: Sequence[str]) -> str:
        """The query to search; raises `RetryLater` where it does not answer."""


async def rewritten(rewriter: Rewriter, query: str, turns: Sequence[str]) -> str:
    """The query as the rewriter has it; raises `RetryLater` for whatever goes wrong in there."""
    try:
        written: object = await rewriter.rewrite(query, turns)
    except RetryLater:
        raise
    except Exception as error:  # other people's code raises what it likes
        message = f"the rewriter failed: {type(error).__name__}"
        raise RetryLater(FailureCode.STAGE_FAILED, message) from error
    if not isinstance(written, str) or not written.strip():
        raise RetryLater(FailureCode.STAGE_FAILED, "the rewriter gave no query")
    return written


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
            # What a policy withheld was not searched: the stage says so itself, then as now.
            dropped=tuple(
                one
                for one in context.record.dropped
                if one.reason != FailureCode.POLICY_FORBIDS.value
            ),
            chunks=context.chunks,
            queries=context.record.queries[1:],
            outside=context.record.outside,
            timings=context.record.timings,
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


def chunk_of(number: int, passage: Passage, score: float) -> Chunk:
    """A passage as the context has it, under its handle."""
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
