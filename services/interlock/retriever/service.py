"""How an index is made of a bundle's documents, and opened again."""

from collections.abc import Sequence
from pathlib import Path

from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus
from interlock.retriever.documents import Passage, load_passages
from interlock.retriever.engine import Server
from interlock.retriever.generations import Generations, sources_identity
from interlock.retriever.pooled import load_pooled
from interlock.retriever.searcher import Searcher
from interlock.retriever.served import generation, pinned_generation
from interlock.runtime.embedding import TextEmbedder


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
    server: Server | None = None,
) -> Searcher:
    """A searcher over the documents of a bundle, and those of the log as last known here.

    `root` is the bundle's folder; `storage` a folder for embedded indexes, one below it per
    identity: an index that is there already is opened, not built again; one that is pinned for
    these sources answers instead. With a `server` the index is there. Raises `UserError` for
    documents that cannot be read.
    """
    corpus = Corpus(storage)
    erasures = corpus.erasures()
    passages = all_passages(load_passages(bundle, root), corpus, bundle)
    generations = Generations(storage, embedder or load_pooled(), corpus, server)
    sources = sources_identity(bundle)
    pinned = await pinned_generation(generations, sources, erasures)
    return pinned or await generation(generations, passages, sources=sources, erasures=erasures)


async def embedded_searcher(
    passages: Sequence[Passage], storage: Path, *, embedder: TextEmbedder | None = None
) -> Searcher:
    """A searcher over these passages; the index is built below `storage` if it is not there."""
    return Generations(storage, embedder or load_pooled()).make(passages)
