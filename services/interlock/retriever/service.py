"""How an index is made of a bundle's documents, and opened again."""

import asyncio
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from interlock.bundles.model import Bundle
from interlock.retriever.documents import Passage, load_passages
from interlock.retriever.embedded import EmbeddedIndex
from interlock.retriever.index import Entry, half, index_identity
from interlock.retriever.keywords import passage_weights, query_weights, terms
from interlock.retriever.parts import Open
from interlock.retriever.searcher import Searcher
from interlock.retriever.vocabulary import Vocabulary
from interlock.runtime.embedding import TextEmbedder, load_wordllama

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
    opened: Open | None = None,
) -> Searcher:
    """A searcher over the documents of a bundle.

    `root` is the bundle's folder; `storage` a folder for embedded indexes, one below it per
    identity: an index that is there already is opened, not built again. With `opened` the index
    is on a server. Raises `UserError` for documents that cannot be read.
    """
    embedder = embedder or load_wordllama()
    passages = load_passages(bundle, root)
    if opened is None:
        return await embedded_searcher(passages, storage, embedder=embedder)
    return await server_searcher(passages, storage, opened, embedder=embedder)


async def server_searcher(
    passages: Sequence[Passage], storage: Path, opened: Open, *, embedder: TextEmbedder
) -> Searcher:
    """A searcher over these passages on a server; an index that is whole there is left alone.

    Its frequencies are kept in a file below `storage`: no start counts the words again.
    """
    identity = index_identity(embedder.name, passages)
    index = await opened(identity, embedder.dimensions, {one.scopes for one in passages})
    file = storage / f"{identity.removeprefix('sha256:')[:32]}-{VOCABULARY}"
    # Filling is idempotent: replicas that start together may do it at the same time.
    if await index.size() < len(passages):
        await index.upsert(await asyncio.to_thread(entries, passages, embedder))
    return Searcher(index, embedder, await asyncio.to_thread(_vocabulary, passages, file))


def _vocabulary(passages: Sequence[Passage], file: Path) -> Vocabulary:
    """From the file, which is made if it is not there."""
    if not file.exists():
        words = ((one, query_weights(terms(one.searchable))) for one in passages)
        file.parent.mkdir(parents=True, exist_ok=True)
        building = file.with_name(f".{os.getpid()}-{file.name}")
        Vocabulary.of(words).save(building)
        building.replace(file)
    return Vocabulary.load(file)


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
