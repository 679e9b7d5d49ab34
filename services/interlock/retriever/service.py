"""How an index is made of a bundle's documents, and opened again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus
from interlock.retriever.documents import Passage, load_passages
from interlock.retriever.engines.server import Server
from interlock.retriever.generations.building import generation, pinned_generation
from interlock.retriever.generations.content import Content, by_document, line_of
from interlock.retriever.generations.folder import Generations, sources_identity
from interlock.retriever.ranking.pooled import load_pooled
from interlock.retriever.searcher import Searcher
from interlock.runtime.embedding import TextEmbedder


def all_documents(own: Sequence[Passage], corpus: Corpus, bundle: Bundle) -> Content:
    """Everything a bundle knows: of its folders (the passages `own`), and of the log.

    What the log has a word about is as the log says, removed or not.
    """
    known, logged = corpus.lines(bundle)
    beside = by_document(one for one in own if one.document_id not in known)

    def read(names: Sequence[str]) -> Iterator[Sequence[Passage]]:
        of_log = corpus.read(bundle, [name for name in names if name not in beside])
        return (beside[name] if name in beside else next(of_log) for name in names)

    return Content({name: line_of(its) for name, its in beside.items()} | logged, read)


async def build_index(
    bundle: Bundle,
    root: Path,
    storage: Path,
    *,
    embedder: TextEmbedder | None = None,
    server: Server | None = None,
    installation: str = "",
) -> Searcher:
    """A searcher over the documents of a bundle, and those of the log as last known here.

    `root` is the bundle's folder; `storage` a folder for embedded indexes, one below it per
    identity: an index that is there already is opened, not built again; one that is pinned for
    these sources answers instead. With a `server` the index is there, that of the `installation`.
    Raises `UserError` for documents that cannot be read.
    """
    corpus = Corpus(storage)
    erasures = corpus.erasures()
    content = all_documents(load_passages(bundle, root), corpus, bundle)
    generations = Generations(
        storage, embedder or load_pooled(), corpus, server, installation=installation
    )
    sources = sources_identity(bundle)
    pinned = await pinned_generation(generations, sources, erasures)
    return pinned or await generation(generations, content, sources=sources, erasures=erasures)


async def embedded_searcher(
    passages: Sequence[Passage], storage: Path, *, embedder: TextEmbedder | None = None
) -> Searcher:
    """A searcher over these passages; the index is built below `storage` if it is not there."""
    return await generation(Generations(storage, embedder or load_pooled()), Content.of(passages))
