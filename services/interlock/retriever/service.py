"""How an index is made of a bundle's documents, and opened again."""

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlock.bundles.model import Bundle
from interlock.retriever.documents import Passage, load_passages
from interlock.retriever.embedded import EmbeddedIndex
from interlock.retriever.index import Entry, half, index_identity
from interlock.retriever.keywords import passage_weights, query_weights, terms
from interlock.retriever.searcher import Searcher
from interlock.retriever.vocabulary import Vocabulary
from interlock.runtime.embedding import TextEmbedder, load_wordllama

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient

    from interlock.retriever.pgvector import PgVectorIndex
    from interlock.retriever.qdrant import QdrantIndex

VOCABULARY = "vocabulary.npz"
"""The file beside the engine's own in the folder of an embedded index."""


def entries(passages: Sequence[Passage], embedder: TextEmbedder) -> list[Entry]:
    """Passages with their vectors.

    Lengths are averaged among those that the same readers may read: a mean over a whole tenant
    would let documents that a reader may not see move the order of those it may.
    """
    words = [terms(passage.searchable) for passage in passages]
    lengths: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for passage, own in zip(passages, words, strict=True):
        lengths[passage.tenant, passage.scopes].append(len(own))
    average = {readers: sum(counts) / len(counts) for readers, counts in lengths.items()}
    vectors = half(embedder.embed([passage.searchable for passage in passages]))
    return [
        Entry(passage, vector, passage_weights(own, average[passage.tenant, passage.scopes]))
        for passage, vector, own in zip(passages, vectors, words, strict=True)
    ]


async def build_index(
    bundle: Bundle,
    root: Path,
    storage: Path,
    *,
    embedder: TextEmbedder | None = None,
    server: "AsyncQdrantClient | None" = None,
    postgres: Any | None = None,
) -> Searcher:
    """A searcher over the documents of a bundle.

    `root` is the bundle's folder; `storage` a folder for embedded indexes, one below it per
    identity: an index that is there already is opened, not built again. With `server` the
    index is a collection there, with `postgres` (an asyncpg pool) a pair of tables; `storage`
    is not used then. Raises `UserError` for documents that cannot be read.
    """
    embedder = embedder or load_wordllama()
    passages = load_passages(bundle, root)
    if server is None and postgres is None:
        return await embedded_searcher(passages, storage, embedder=embedder)
    identity = index_identity(embedder.name, passages)
    index = await _on_server(identity, embedder.dimensions, server, postgres)
    # Filling is idempotent: replicas that start together may do it at the same time.
    if await index.size() < len(passages):
        await index.upsert(entries(passages, embedder))
    words = ((one, query_weights(terms(one.searchable))) for one in passages)
    return Searcher(index, embedder, Vocabulary.of(words))


async def _on_server(
    identity: str, dimension: int, qdrant: "AsyncQdrantClient | None", postgres: Any
) -> "QdrantIndex | PgVectorIndex":
    """The index there, made if it is missing. Imported here: neither is needed without it."""
    if qdrant is None:
        from interlock.retriever.pgvector import PgVectorIndex

        return await PgVectorIndex.create(postgres, identity, dimension)
    from interlock.retriever.qdrant import QdrantIndex

    return await QdrantIndex.create(qdrant, identity, dimension)


async def embedded_searcher(
    passages: Sequence[Passage], storage: Path, *, embedder: TextEmbedder | None = None
) -> Searcher:
    """A searcher over these passages; the index is built below `storage` if it is not there.

    Build beside, then rename: a folder with its final name is whole.
    """
    embedder = embedder or load_wordllama()
    identity = index_identity(embedder.name, passages)
    folder = storage / identity.removeprefix("sha256:")[:32]
    if not folder.exists():
        building = storage / f".building-{folder.name}-{os.getpid()}"
        shutil.rmtree(building, ignore_errors=True)
        index = EmbeddedIndex.create(building, identity, embedder.dimensions)
        made = entries(passages, embedder)
        await index.upsert(made)
        index.flush()
        Vocabulary.of((one.passage, one.keyword) for one in made).save(building / VOCABULARY)
        try:
            building.rename(folder)
        except OSError:
            # Another process has built the same index meanwhile: theirs will do.
            if not folder.exists():
                raise
            shutil.rmtree(building)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    return Searcher(EmbeddedIndex.open(folder, identity), embedder, vocabulary)
