"""How an index is made of a bundle's documents, and opened again."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus, Remembering
from interlock.retriever.documents import Passage, load_passages
from interlock.retriever.entries import entries
from interlock.retriever.generations import VOCABULARY, Generations, sources_identity
from interlock.retriever.index import index_identity
from interlock.retriever.keywords import query_weights, terms
from interlock.retriever.parts import Open
from interlock.retriever.searcher import Searcher
from interlock.retriever.vocabulary import Vocabulary
from interlock.runtime.embedding import TextEmbedder, load_wordllama


def all_passages(own: Sequence[Passage], corpus: Corpus, bundle: Bundle) -> list[Passage]:
    """The passages of everything a bundle knows: of its folders (`own`), and of the log.

    What the log has a word about is as the log says, removed or not.
    """
    known, logged = corpus.snapshot(bundle)
    return [one for one in own if one.document_id not in known] + logged


async def build_index(
    bundle: Bundle,
    root: Path,
    storage: Path,
    *,
    embedder: TextEmbedder | None = None,
    opened: Open | None = None,
) -> Searcher:
    """A searcher over the documents of a bundle, and those of the log as last known here.

    `root` is the bundle's folder; `storage` a folder for embedded indexes, one below it per
    identity: an index that is there already is opened, not built again; one that is pinned for
    these sources answers instead. With `opened` the index is on a server. Raises `UserError` for
    documents that cannot be read.
    """
    embedder, corpus = embedder or load_wordllama(), Corpus(storage)
    passages = all_passages(load_passages(bundle, root), corpus, bundle)
    if opened is not None:
        return await server_searcher(passages, storage, opened, embedder=embedder, corpus=corpus)
    generations = Generations(storage, embedder, corpus)
    sources = sources_identity(bundle)
    return generations.pinned(sources) or generations.make(passages, sources=sources)


async def server_searcher(
    passages: Sequence[Passage],
    storage: Path,
    opened: Open,
    *,
    embedder: TextEmbedder,
    corpus: Corpus | None = None,
) -> Searcher:
    """A searcher over these passages on a server; an index that is whole there is left alone.

    Its frequencies are kept in a file below `storage`: no start counts the words again. With a
    `corpus` no text of a passage is embedded twice.
    """
    identity = await asyncio.to_thread(index_identity, embedder.name, passages)
    index = await opened(identity, embedder.dimensions, {one.scopes for one in passages})
    file = storage / f"{identity.removeprefix('sha256:')[:32]}-{VOCABULARY}"
    # Filling is idempotent: replicas that start together may do it at the same time.
    if await index.size() < len(passages):
        by = embedder if corpus is None else Remembering(embedder, corpus)
        await index.upsert(await asyncio.to_thread(entries, passages, by))
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
    """A searcher over these passages; the index is built below `storage` if it is not there."""
    return Generations(storage, embedder or load_wordllama()).make(passages)
