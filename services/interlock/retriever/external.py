"""Retrievers of other people as knowledge sources: LangChain's, LlamaIndex's, anybody's.

They are searched beside the installation's own index, and what they find is held to the same
rules: the tenant and the scopes are handed to them, what comes back is checked again, and every
list is on record. A passage that does not say whose it is is dropped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from interlock.bundles.knowledge import KnowledgeSource
from interlock.retriever.documents import Passage
from interlock.retriever.labelled import Found, Labels, labelled, score_of
from interlock.retriever.ranking.fusion import FINE, keep, ordered, rounded
from interlock.retriever.search import Search, SearchRequest, SearchResult, chunk_of
from interlock.runtime.errors import RetryLater
from interlock_contracts.base import cleaned
from interlock_contracts.canonical import digest, digest_bytes
from interlock_contracts.failures import FailureCode
from interlock_contracts.retrieval import Dropped, Ranking, RetrievalOutcome, Trust

__all__ = [
    "External",
    "Found",
    "LangChainRetriever",
    "LlamaIndexRetriever",
    "WithExternal",
    "langchain",
    "llama_index",
    "narrowed",
]

EXTERNAL = "external"
"""What the names of the lists begin with that sources elsewhere gave."""

SOURCES = "sources"
"""The name of the list that the sources make together."""

Retrieve = Callable[[str, str, tuple[str, ...]], Awaitable[Sequence[Found]]]
"""(query, tenant, scopes) → results, best first."""


@dataclass(frozen=True, slots=True)
class External:
    """A knowledge source that is searched elsewhere.

    `name` identifies the retriever and its version, for the record. A reader needs all of
    `scopes`, and of those a result's labels name. Its best result counts `weight`, where the best
    that both legs of the index agree on counts 1.
    """

    name: str
    retrieve: Retrieve
    scopes: tuple[str, ...] = ()
    trust: Trust = Trust.UNTRUSTED
    labels: Labels = dict
    weight: float = 1.0


def narrowed(
    external: Mapping[str, External], sources: Mapping[str, KnowledgeSource]
) -> dict[str, External]:
    """Those that a bundle has: read by no more people, and trusted no more, than it says."""
    return {
        name: replace(
            one,
            scopes=tuple(sorted({*one.scopes, *sources[name].scopes})),
            trust=min(one.trust, sources[name].trust, key=_TRUSTED.index),
        )
        for name, one in external.items()
        if name in sources
    }


_TRUSTED = (Trust.UNTRUSTED, Trust.TRUSTED)


class LangChainRetriever(Protocol):
    """`langchain_core.retrievers.BaseRetriever`, as far as it is used."""

    async def ainvoke(self, input: str) -> Sequence[Any]:
        """Documents with `page_content`, `metadata` and perhaps `id`."""


class LlamaIndexRetriever(Protocol):
    """`llama_index.core.retrievers.BaseRetriever`, as far as it is used."""

    async def aretrieve(self, str_or_query_bundle: str) -> Sequence[Any]:
        """Nodes with `score` and `node`."""


def langchain(
    name: str, make: Callable[[str, tuple[str, ...]], LangChainRetriever], **more: Any
) -> External:
    """A source of a LangChain retriever; `more` are the other fields of `External`.

    `make` is given the tenant and the scopes and returns a retriever that finds nothing else:
    `lambda tenant, scopes: store.as_retriever(search_kwargs={"filter": {"tenant": tenant}})`.
    """

    async def retrieve(query: str, tenant: str, scopes: tuple[str, ...]) -> list[Found]:
        documents = await make(tenant, scopes).ainvoke(query)
        return [Found(one.page_content, one.metadata, one.id) for one in documents]

    return External(name, retrieve, **more)


def llama_index(
    name: str, make: Callable[[str, tuple[str, ...]], LlamaIndexRetriever], **more: Any
) -> External:
    """A source of a LlamaIndex retriever; `more` are the other fields of `External`.

    `make` is given the tenant and the scopes and returns a retriever that finds nothing else,
    for instance one with `MetadataFilters`.
    """

    async def retrieve(query: str, tenant: str, scopes: tuple[str, ...]) -> list[Found]:
        nodes = await make(tenant, scopes).aretrieve(query)
        return [
            Found(one.node.get_content(), one.node.metadata, one.node.node_id, one.score)
            for one in nodes
        ]

    return External(name, retrieve, **more)


class WithExternal:
    """A `Search` over an index and external sources, by the names of their sources."""

    def __init__(self, inner: Search, external: Mapping[str, External]) -> None:
        self._inner = inner
        self._external = external

    async def search(self, request: SearchRequest) -> SearchResult:
        """As the inner search; with external sources among the route's, theirs beside it."""
        asked = {name: self._external[name] for name in request.sources if name in self._external}
        if not asked:
            return await self._inner.search(request)
        own = tuple(name for name in request.sources if name not in asked)
        inner, others = await asyncio.gather(
            self._inner.search(replace(request, sources=own)),
            asyncio.gather(*(_ask(name, source, request) for name, source in asked.items())),
        )
        return _merged(request, asked, inner, others)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a source gave; `outcome` is what it would be without any other."""

    ranking: Ranking
    outcome: RetrievalOutcome
    passages: Mapping[str, Passage] = field(default_factory=dict)
    dropped: tuple[Dropped, ...] = ()
    weight: float = 1.0


async def _ask(name: str, source: External, request: SearchRequest) -> _Answer:
    if not set(source.scopes).issubset(request.scopes):
        unasked = Dropped(chunk_id=f"source-{name}", reason=FailureCode.SCOPE_MISSING.value)
        nothing = Ranking(step=f"{EXTERNAL}-{name}", hits=())
        return _Answer(nothing, RetrievalOutcome.FILTERED_OUT, dropped=(unasked,))
    try:
        found = list(await source.retrieve(request.query, request.tenant, request.scopes))
    except RetryLater:
        raise
    except Exception as error:  # other people's code raises what it likes
        message = f"the source {name!r} failed: {type(error).__name__}"
        raise RetryLater(FailureCode.STAGE_FAILED, message) from error
    passages: dict[str, Passage] = {}
    scores: dict[str, float] = {}
    dropped: list[Dropped] = []
    for rank, one in enumerate(found[: request.spec.candidates]):
        passage = _passage(name, source, one)
        if passage is None or not _readable(passage, request):
            # Not even its id is for the reader of the record.
            withheld = digest_bytes(repr((one.id, one.text)).encode())[7:23]
            reason = FailureCode.TENANT_BOUNDARY if passage is None else _breach(passage, request)
            dropped.append(Dropped(chunk_id=f"withheld-{withheld}", reason=reason.value))
            continue
        known = score_of(one)
        score = 1 / (rank + 1) if known is None else known
        if passage.chunk_id not in passages:
            passages[passage.chunk_id], scores[passage.chunk_id] = passage, score
    outcome = RetrievalOutcome.FILTERED_OUT if dropped else RetrievalOutcome.NOT_RETRIEVED
    return _Answer(
        ordered(f"{EXTERNAL}-{name}", scores.items()),
        RetrievalOutcome.RANKED_OUT if passages else outcome,
        passages,
        tuple(dropped),
        source.weight,
    )


def _passage(name: str, source: External, one: Found) -> Passage | None:
    """A result as a passage of ours; None for one that does not say whose it is."""
    said = labelled(one, source.labels)
    if said is None:
        return None
    own = digest_bytes(said.text.encode())
    document = f"{said.tenant}/{name}/{said.document or own[7:23]}"
    if len(document) > 117 or not document.isprintable():
        document = f"{said.tenant}/{name}/{digest_bytes(cleaned(document).encode())[7:39]}"
    return Passage(
        chunk_id=f"{document}#{own[7:17]}",
        document_id=document,
        version=own,
        digest=own,
        tenant=said.tenant,
        source=name,
        trust=source.trust.value,
        scopes=tuple(sorted({*source.scopes, *said.scopes})),
        title=said.title,
        url=said.url,
        heading="",
        text=said.text,
    )


def _readable(passage: Passage, request: SearchRequest) -> bool:
    return passage.tenant == request.tenant and set(passage.scopes).issubset(request.scopes)


def _breach(passage: Passage, request: SearchRequest) -> FailureCode:
    if passage.tenant != request.tenant:
        return FailureCode.TENANT_BOUNDARY
    return FailureCode.SCOPE_MISSING


_NEARNESS = (
    RetrievalOutcome.NOTHING_INDEXED,
    RetrievalOutcome.FILTERED_OUT,
    RetrievalOutcome.NOT_RETRIEVED,
    RetrievalOutcome.RANKED_OUT,
    RetrievalOutcome.FOUND,
)
"""Where nothing is kept of several sources, what came nearest is said."""


def _merged(
    request: SearchRequest,
    asked: Mapping[str, External],
    inner: SearchResult,
    others: Sequence[_Answer],
) -> SearchResult:
    """One list of all sources, each by its scores as shares of its best; the best are kept."""
    last = inner.rankings[-1] if inner.rankings else Ranking(step=SOURCES, hits=())
    scored: dict[str, float] = {hit.chunk_id: hit.score for hit in last.hits}
    for answer in others:
        top = max((hit.score for hit in answer.ranking.hits), default=0.0)
        for hit in answer.ranking.hits:
            share = max(hit.score, 0.0) / top if top > 0 else 0.0
            scored[hit.chunk_id] = rounded(share * answer.weight, FINE)
    together = ordered(SOURCES, scored.items())
    passages = {name: one for answer in others for name, one in answer.passages.items()}
    own = {chunk.chunk_id: chunk for chunk in inner.chunks}
    # Of the inner search only what it kept can be given: the rest was dropped there.
    known = [hit for hit in together.hits if hit.chunk_id in passages or hit.chunk_id in own]
    kept, dropped = keep(Ranking(step=SOURCES, hits=tuple(known)), request.spec)
    outcome = RetrievalOutcome.FOUND
    if not kept:
        told = (inner.outcome, *(answer.outcome for answer in others))
        outcome = max(told, key=_NEARNESS.index)
    return SearchResult(
        index=digest({"index": inner.index, "external": {n: _name(s) for n, s in asked.items()}}),
        outcome=outcome,
        rankings=(*inner.rankings, *(answer.ranking for answer in others), together),
        dropped=(*inner.dropped, *(one for answer in others for one in answer.dropped), *dropped),
        chunks=tuple(
            chunk_of(number, passages[hit.chunk_id], hit.score)
            if hit.chunk_id in passages
            else own[hit.chunk_id].model_copy(update={"handle": f"c{number}"})
            for number, hit in enumerate(kept, 1)
        ),
        queries=inner.queries,
        outside=inner.outside,
        timings=inner.timings,
    )


def _name(source: External) -> str | list[object]:
    """What the record's identity has of a source: whatever changes the order."""
    return source.name if source.weight == 1 else [source.name, source.weight]
