"""The searcher: embedder, index and fusion together; and how an index is made of a bundle."""

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.bundles.model import Bundle
from interlock.retriever.documents import Passage, load_passages
from interlock.retriever.fusion import fuse, keep
from interlock.retriever.index import DENSE, KEYWORD, Entry, Index, Query, index_identity
from interlock.retriever.keywords import passage_weights, query_weights, terms
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.runtime.embedding import TextEmbedder, load_wordllama
from interlock_contracts.retrieval import Chunk, Dropped, Hit, Ranking, RetrievalOutcome, Trust

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient


class Searcher:
    """A `Search` over one index."""

    def __init__(self, index: Index, embedder: TextEmbedder) -> None:
        self._index = index
        self._embedder = embedder

    @property
    def identity(self) -> str:
        """The identity of the index that is searched."""
        return self._index.identity

    async def search(self, request: SearchRequest) -> SearchResult:
        """Ask both legs, fuse, keep the best, and fetch what is kept."""
        spec = request.spec
        found = await self._index.search(
            Query(
                text=request.query,
                dense=self._embedder.embed([request.query])[0],
                keyword=query_weights(terms(request.query)),
            ),
            tenant=request.tenant,
            scopes=request.scopes,
            sources=request.sources,
            limit=spec.candidates,
        )
        weights = {KEYWORD: 1 - spec.dense_weight, DENSE: spec.dense_weight}
        fused = fuse(found, weights, spec.candidates)
        kept, dropped = keep(fused, spec)
        passages = await self._index.fetch(
            [hit.chunk_id for hit in kept],
            tenant=request.tenant,
            scopes=request.scopes,
            sources=request.sources,
        )
        # Only where the index is being filled right now can a passage be found and not fetched.
        gone = [hit for hit in kept if hit.chunk_id not in passages]
        kept = [hit for hit in kept if hit.chunk_id in passages]
        dropped += [Dropped(chunk_id=hit.chunk_id, reason="gone") for hit in gone]
        return SearchResult(
            index=self.identity,
            outcome=await self._outcome(request, fused, kept),
            rankings=(*found, fused),
            dropped=tuple(dropped),
            chunks=tuple(
                _chunk(number, passages[hit.chunk_id], hit.score)
                for number, hit in enumerate(kept, 1)
            ),
        )

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


def entries(passages: Sequence[Passage], embedder: TextEmbedder) -> list[Entry]:
    """Passages with their vectors. Lengths are averaged per tenant: nothing leaks across."""
    words = [terms(passage.searchable) for passage in passages]
    lengths: dict[str, list[int]] = defaultdict(list)
    for passage, own in zip(passages, words, strict=True):
        lengths[passage.tenant].append(len(own))
    average = {tenant: sum(counts) / len(counts) for tenant, counts in lengths.items()}
    vectors = embedder.embed([passage.searchable for passage in passages])
    return [
        Entry(passage, vector, passage_weights(own, average[passage.tenant]))
        for passage, vector, own in zip(passages, vectors, words, strict=True)
    ]


async def build_index(
    bundle: Bundle,
    root: Path,
    storage: Path,
    *,
    embedder: TextEmbedder | None = None,
    server: "AsyncQdrantClient | None" = None,
) -> Searcher:
    """A searcher over the documents of a bundle.

    `root` is the bundle's folder; `storage` a folder for embedded indexes, one below it per
    identity: an index that is there already is opened, not built again. With `server` the
    index is a collection there, and `storage` is not used. Raises `UserError` for documents
    that cannot be read.
    """
    embedder = embedder or load_wordllama()
    passages = load_passages(bundle, root)
    if server is None:
        return await embedded_searcher(passages, storage, embedder=embedder)
    identity = index_identity(embedder.name, passages)
    from interlock.retriever.qdrant import QdrantIndex

    index = await QdrantIndex.create(server, identity, embedder.dimensions)
    # Filling is idempotent: replicas that start together may do it at the same time.
    if await index.size() < len(passages):
        await index.upsert(entries(passages, embedder))
    return Searcher(index, embedder)


async def embedded_searcher(
    passages: Sequence[Passage], storage: Path, *, embedder: TextEmbedder | None = None
) -> Searcher:
    """A searcher over these passages; the index is built below `storage` if it is not there.

    Build beside, then rename: a folder with its final name is whole.
    """
    from interlock.retriever.edge import EdgeIndex

    embedder = embedder or load_wordllama()
    identity = index_identity(embedder.name, passages)
    folder = storage / identity.removeprefix("sha256:")[:32]
    if not folder.exists():
        building = storage / f".building-{folder.name}-{os.getpid()}"
        shutil.rmtree(building, ignore_errors=True)
        index = EdgeIndex.create(building, identity, embedder.dimensions)
        await index.upsert(entries(passages, embedder))
        index.flush()
        index.close()
        try:
            building.rename(folder)
        except OSError:
            # Another process has built the same index meanwhile: theirs will do.
            if not folder.exists():
                raise
            shutil.rmtree(building)
    return Searcher(EdgeIndex.open(folder, identity), embedder)
