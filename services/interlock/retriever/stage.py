"""The retriever's decision: what the answer may rest on, and how it was found."""

import hashlib
from collections.abc import Collection, Sequence

from interlock.bundles.reading import forbidden_sources
from interlock.retriever.documents import microseconds
from interlock.retriever.ranking.keywords import terms
from interlock.retriever.search import Search, SearchRequest, SearchResult
from interlock.runtime.errors import NeverRetry
from interlock.runtime.signals import signals_of_chunks
from interlock.runtime.stage import Draft, Input
from interlock_contracts.failures import FailureCode
from interlock_contracts.privacy import PLACEHOLDER
from interlock_contracts.request import Request
from interlock_contracts.retrieval import (
    Chunk,
    Context,
    Dropped,
    Ranking,
    RetrievalOutcome,
    RetrievalRecord,
)

Capabilities = Search
"""What the stage needs of the world."""

FOLLOW_UP_TERMS = 3
"""A text with no more terms than this is taken for a follow-up of the turn before."""


async def decide(input: Input, using: Capabilities) -> Sequence[Draft]:
    """`route` → `context`: the case with its context.

    A route without sources needs no search, and neither does one whose sources the policies all
    withhold. Raises `NeverRetry` for a case without a route.
    """
    case = input.case
    if case.route is None:
        raise NeverRetry(FailureCode.EVENT_INVALID, "a route event without a route")
    named = set(case.route.sources)
    withheld = forbidden_sources(input.bundle, case.request, case.route, named)
    if named - withheld:
        request = SearchRequest(
            query=query_text(case.request),
            tenant=case.request.tenant,
            scopes=tuple(sorted(set(case.request.principal.scopes))),
            sources=tuple(sorted(named - withheld)),
            spec=input.bundle.retrieval_of(case.route.intent),
            turns=_said_before(case.request),
            at=microseconds(input.now),
        )
        context = to_context(request, await using.search(request), withheld)
    else:
        outcome = RetrievalOutcome.FILTERED_OUT if named else RetrievalOutcome.NOT_NEEDED
        context = Context(outcome=outcome)
    signals = signals_of_chunks(context.chunks)
    if signals:
        context = context.model_copy(update={"signals": signals})
    return [Draft("context", "0", case.model_copy(update={"context": context}))]


def query_text(request: Request) -> str:
    """What is searched for: the text; for a short follow-up, with the user's turn before it.

    Placeholders for personal data say nothing that a document could say too.
    """
    text = PLACEHOLDER.sub(" ", request.text).strip() or request.text
    if len(terms(text)) > FOLLOW_UP_TERMS:
        return text
    return "\n".join([text, *_said_before(request)[-1:]])


def _said_before(request: Request) -> tuple[str, ...]:
    said = (turn.text for turn in request.history if turn.role == "user")
    return tuple(PLACEHOLDER.sub(" ", text) for text in said)


def to_context(
    request: SearchRequest, result: SearchResult, without: Collection[str] = ()
) -> Context:
    """The context and its record; what the engine should not have returned goes into neither.

    The engine has filtered already. This check is there for the day it has not: a chunk that
    fails it is named by a digest only, since even its id is not for the reader of this event.
    `without` are sources of the route that were not searched, because a policy says so.
    """
    refused = {
        chunk.chunk_id: code
        for chunk in result.chunks
        if (code := _breach(request, chunk)) is not None
    }
    allowed = [chunk for chunk in result.chunks if chunk.chunk_id not in refused]
    outcome = result.outcome
    if refused and not allowed:
        outcome = RetrievalOutcome.FILTERED_OUT
    withheld = tuple(
        Dropped(chunk_id=f"withheld-{_short(chunk_id)}", reason=code.value)
        for chunk_id, code in refused.items()
    )
    sources = (
        Dropped(chunk_id=f"source-{name}", reason=FailureCode.POLICY_FORBIDS.value)
        for name in sorted(without)
    )
    return Context(
        outcome=outcome,
        chunks=tuple(
            chunk.model_copy(update={"handle": f"c{number}"})
            for number, chunk in enumerate(allowed, 1)
        ),
        record=RetrievalRecord(
            queries=(request.query, *result.queries),
            tenants=(request.tenant,),
            scopes=request.scopes,
            sources=request.sources,
            index=result.index,
            rankings=_without(result.rankings, refused) if refused else result.rankings,
            dropped=(*sources, *withheld, *result.dropped),
            timings=dict(result.timings),
            outside=result.outside,
        ),
    )


def _breach(request: SearchRequest, chunk: Chunk) -> FailureCode | None:
    if chunk.tenant != request.tenant:
        return FailureCode.TENANT_BOUNDARY
    if not set(chunk.scopes) <= set(request.scopes) or chunk.source not in request.sources:
        return FailureCode.SCOPE_MISSING
    return None


def _without(rankings: tuple[Ranking, ...], refused: dict[str, FailureCode]) -> tuple[Ranking, ...]:
    return tuple(
        Ranking(
            step=ranking.step,
            hits=tuple(hit for hit in ranking.hits if hit.chunk_id not in refused),
        )
        for ranking in rankings
    )


def _short(chunk_id: str) -> str:
    return hashlib.sha256(chunk_id.encode()).hexdigest()[:16]
