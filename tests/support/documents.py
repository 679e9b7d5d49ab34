"""A broker, documents that are put on its log, and searches that follow it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.integration.test_index_build import Words
from tests.support.broker import connected

from interlock.bundles.knowledge import KnowledgeSource, RetrievalSpec
from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus
from interlock.retriever.documents import microseconds
from interlock.retriever.generations.folder import Generations
from interlock.retriever.live import LiveSearch
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.retriever.searcher import Searcher
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.embedding import Vectors
from interlock.runtime.log import JetStreamLog
from interlock.sdk import Documents
from interlock_contracts.retrieval import Trust

BUNDLE = Bundle(
    name="test",
    version="1",
    sources={
        "help": KnowledgeSource(path="docs/{tenant}/help", trust=Trust.TRUSTED),
        "notes": KnowledgeSource(scopes=("staff",)),
    },
)


@dataclass
class World:
    """A broker with a writer of documents, and searches over what it writes."""

    broker: EmbeddedBroker
    root: Path
    documents: Documents
    events: JetStreamLog
    bundle: Bundle = BUNDLE
    embedded: list[str] = field(default_factory=list)

    async def put(self, name: str, text: str, source: str = "help", **about: object) -> None:
        described = self.documents.describe(source, name, **about)  # type: ignore[arg-type]
        await self.documents.put(described, text)

    async def search(self, storage: str = "index", embedder: Words | None = None) -> LiveSearch:
        """A retriever's search that has read the log."""
        folder = self.root / storage
        generations = Generations(folder, embedder or Counting(self.embedded), Corpus(folder))
        live = LiveSearch(self.root, self.events, generations)
        await live.start()
        await live.open(self.bundle)
        return live


class Counting(Words):
    """An embedder that notes what it was asked for."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return super().embed(texts)


@asynccontextmanager
async def opened(broker: EmbeddedBroker, root: Path) -> AsyncIterator[World]:
    (root / "docs/acme/help").mkdir(parents=True)
    credential = broker.state / "credentials/ingest-acme.nk"
    async with (
        await Documents.connect(broker.url, credential) as documents,
        connected(broker, "retriever") as client,
    ):
        yield World(broker, root, documents, JetStreamLog(client, "ev"))


async def ask(
    live: LiveSearch,
    query: str,
    *,
    scopes: tuple[str, ...] = (),
    at: datetime | None = None,
    bundle: Bundle = BUNDLE,
) -> SearchResult:
    search = await live.of(bundle)
    return await search.search(
        SearchRequest(
            query=query,
            tenant="acme",
            scopes=scopes,
            sources=("help", "notes"),
            spec=RetrievalSpec(per_document=50, limit=50),
            at=None if at is None else microseconds(at),
        )
    )


def identity(live: LiveSearch) -> str:
    """Of the index that answers for the world's first bundle."""
    search = live._kept[BUNDLE.digest].search
    assert isinstance(search, Searcher)
    return search.identity


async def texts(live: LiveSearch, query: str, **more: object) -> list[str]:
    return [chunk.text for chunk in (await ask(live, query, **more)).chunks]  # type: ignore[arg-type]
