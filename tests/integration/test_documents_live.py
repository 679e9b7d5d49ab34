"""From the log to answers: one generation after the other, each of them whole."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient
from tests.integration.test_index_build import Words
from tests.support.broker import connected

from interlock.bundles.model import Bundle, KnowledgeSource, RetrievalSpec
from interlock.retriever.corpus import Corpus
from interlock.retriever.documents import microseconds
from interlock.retriever.generations import Generations
from interlock.retriever.live import LiveSearch
from interlock.retriever.qdrant import QdrantServer
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.retriever.searcher import Searcher
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.embedding import Vectors
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog
from interlock.sdk import Documents
from interlock_contracts.documents import document_events, document_key
from interlock_contracts.retrieval import Trust

BUNDLE = Bundle(
    name="test",
    version="1",
    sources={
        "help": KnowledgeSource(path="docs/{tenant}/help", trust=Trust.TRUSTED),
        "notes": KnowledgeSource(scopes=("staff",)),
    },
)


pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


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


@pytest.fixture
async def world(fresh_broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(fresh_broker, tmp_path / "world") as made:
        yield made


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


async def test_added_changed_and_removed_documents(world: World) -> None:
    live = await world.search()
    assert await texts(live, "days for a return") == []
    await world.put("returns", "You have thirty days for a return.", title="Returns")
    assert await texts(live, "days for a return") == []
    await live.look()
    (found,) = (await ask(live, "days for a return")).chunks
    assert (found.document_id, found.title, found.trust) == (
        *("acme/help/returns", "Returns"),
        Trust.TRUSTED,
    )
    await world.put("returns", "You have forty days for a return.")
    await live.look()
    assert await texts(live, "days for a return") == ["You have forty days for a return."]
    await world.documents.remove("help", "returns")
    await live.look()
    assert await texts(live, "days for a return") == []


async def test_nothing_new_is_no_work(world: World) -> None:
    await world.put("returns", "You have thirty days for a return.")
    live = await world.search()
    before = identity(live)
    world.embedded.clear()
    await live.look()
    await world.put("returns", "You have thirty days for a return.")
    await live.look()
    assert identity(live) == before
    await world.put("shipping", "Six days to Canada.")
    await live.look()
    assert world.embedded == ["shipping\nSix days to Canada."]


async def test_the_log_goes_before_the_folder(world: World) -> None:
    folder = world.root / "docs/acme/help"
    (folder / "returns.md").write_text("You have ten days for a return.")
    (folder / "hours.txt").write_text("Open at nine for a return.")
    live = await world.search()
    assert len(await texts(live, "return")) == 2
    await world.put("returns", "You have thirty days for a return.")
    await world.documents.remove("help", "hours")
    await live.look()
    assert "You have thirty days for a return." in await texts(live, "return")
    assert len(await texts(live, "return")) == 2  # what was never on the log cannot be removed
    await world.put("hours", "x")
    await world.documents.remove("help", "hours")
    await live.look()
    assert await texts(live, "return") == ["You have thirty days for a return."]


async def test_the_index_is_made_of_the_log_again(world: World) -> None:
    for number in range(20):
        await world.put(f"d{number}", f"Document {number} about a return.")
    await world.put("d3", "Changed.")
    await world.documents.remove("help", "d4")
    live = await world.search()
    before = await ask(live, "return")
    shutil.rmtree(world.root / "index")
    again = await world.search()
    assert identity(again) == identity(live)
    assert await ask(again, "return") == before


async def test_retrievers_converge_whatever_they_saw_on_the_way(world: World) -> None:
    one = await world.search("one")
    for number in range(12):
        await world.put(f"d{number % 5}", f"Version {number} of it.")
        if number % 3 == 0:
            await one.look()
    await one.look()
    other = await world.search("two")
    assert identity(one) == identity(other)
    assert await ask(one, "version") == await ask(other, "version")


async def test_two_on_one_folder_build_once_and_agree(world: World) -> None:
    await world.put("returns", "You have thirty days for a return.")
    one, other = await asyncio.gather(world.search(), world.search())
    await world.put("returns", "You have forty days for a return.")
    await asyncio.gather(one.look(), other.look())
    assert identity(one) == identity(other)
    assert await texts(other, "return") == ["You have forty days for a return."]
    assert world.embedded.count("returns\nYou have forty days for a return.") == 1


async def test_scopes_and_trust_can_only_narrow_the_source(world: World) -> None:
    await world.put("a", "Secret of the staff.", "notes", trust=Trust.TRUSTED)
    await world.put("b", "Secret of the lead.", "notes", scopes=["lead"])
    await world.put("c", "Public secret.", trust=Trust.UNTRUSTED)
    live = await world.search()
    assert await texts(live, "secret") == ["Public secret."]
    found = (await ask(live, "secret", scopes=("staff",))).chunks
    assert {(chunk.text, chunk.trust) for chunk in found} == {
        ("Public secret.", Trust.UNTRUSTED),
        ("Secret of the staff.", Trust.UNTRUSTED),
    }
    assert len(await texts(live, "secret", scopes=("staff", "lead"))) == 3


async def test_only_what_is_valid_at_the_time_is_found(world: World) -> None:
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    await world.put("old", "Ten days for a return.", valid_until=new_year)
    await world.put("new", "Thirty days for a return.", valid_from=new_year)
    live = await world.search()
    before = datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert await texts(live, "return", at=before) == ["Ten days for a return."]
    assert await texts(live, "return", at=new_year) == ["Thirty days for a return."]
    assert len(await texts(live, "return")) == 2


async def test_documents_of_an_unknown_source_wait_for_a_bundle_that_has_it(world: World) -> None:
    await world.put("a", "Of the wiki.", "wiki")
    live = await world.search()
    assert await texts(live, "wiki") == []
    sources = {**BUNDLE.sources, "help": KnowledgeSource(), "wiki": KnowledgeSource()}
    world.bundle = Bundle(name="test", version="2", sources=sources)
    request = SearchRequest(
        query="wiki", tenant="acme", scopes=(), sources=("wiki",), spec=RetrievalSpec()
    )
    found = await (await live.of(world.bundle)).search(request)
    assert [chunk.text for chunk in found.chunks] == ["Of the wiki."]
    assert await texts(live, "wiki") == []
    await world.put("b", "More of the wiki.", "wiki")
    await live.look()
    found = await (await live.of(world.bundle)).search(request)
    assert len(found.chunks) == 2


async def test_parts_are_nothing_until_they_are_whole(world: World) -> None:
    about = world.documents.describe("help", "long")
    parts = [
        event.model_copy(update={"part": part, "parts": 2, "text": text})
        for part, text in enumerate(("First half of a return. ", "Second half of a return."))
        for event in document_events(about, "whole", 1)
    ]
    live = await world.search()
    async with connected(world.broker, "ingest-acme") as client:
        for part in (1, 0):
            await live.look()
            assert await texts(live, "return") == []
            subject = f"ev.document.acme.{document_key('help', 'long')}.1-{part}"
            await client.request(subject, parts[part].model_dump_json().encode())
    await live.look()
    assert await texts(live, "return") == ["First half of a return. Second half of a return."]


async def test_what_is_no_document_is_passed_over(world: World) -> None:
    async with connected(world.broker, "ingest-acme") as client:
        await client.request("ev.document.acme.key.1-0", b"{}")
    await world.put("returns", "Thirty days.")
    assert await texts(await world.search(), "days") == ["Thirty days."]


async def test_another_log_means_another_index(world: World, tmp_path: Path) -> None:
    await world.put("returns", "Thirty days.")
    await world.search()
    from tests.support.broker import running_broker

    async with (
        running_broker(tmp_path / "other") as broker,
        connected(broker, "retriever") as client,
    ):
        world.events = JetStreamLog(client, "ev")
        assert await texts(await world.search(), "days") == []


async def test_an_index_of_another_embedder_is_refused(world: World) -> None:
    class Others(Words):
        name = "other-words"

    await world.put("returns", "Thirty days.")
    live = await world.search()
    generations = Generations(world.root / "index", Others())
    with pytest.raises(UserError, match=r"made by the embedder hashed-words.*reindex"):
        generations.open(identity(live))
    assert identity(await world.search(embedder=Others())) != identity(live)


async def test_rolled_back_and_on_again(world: World) -> None:
    await world.put("returns", "Thirty days.")
    live = await world.search()
    first = identity(live)
    await world.put("returns", "Forty days.")
    await live.look()
    second = identity(live)
    generations = Generations(world.root / "index", Words())
    assert generations.current().served == (first, second)
    generations.note(pinned=first)
    await live.look()
    assert await texts(live, "days") == ["Thirty days."]
    await world.put("returns", "Fifty days.")
    await live.look()
    assert await texts(live, "days") == ["Thirty days."]
    generations.note(pinned="", told=True)
    await live.look()
    assert await texts(live, "days") == ["Fifty days."]


async def test_a_pinned_index_is_not_for_sources_with_other_scopes(world: World) -> None:
    """Who may read what is the bundle's to say: an older index does not say it instead."""
    await world.put("returns", "Thirty days.")
    live = await world.search()
    generations = Generations(world.root / "index", Words())
    generations.note(pinned=identity(live))
    await world.put("returns", "Forty days.")
    sources = {**BUNDLE.sources, "help": KnowledgeSource(scopes=("staff",))}
    stricter = Bundle(name="test", version="2", sources=sources)
    await live.look()
    assert await texts(live, "days") == ["Thirty days."]
    assert await texts(live, "days", bundle=stricter) == []
    assert await texts(live, "days", bundle=stricter, scopes=("staff",)) == ["Forty days."]


async def test_an_index_on_a_server_follows_too(world: World) -> None:
    client = AsyncQdrantClient(":memory:")
    folder = world.root / "index"
    generations = Generations(folder, Words(), Corpus(folder), QdrantServer(client), keep=2)
    live = LiveSearch(world.root, world.events, generations)
    await live.start()
    await live.open(BUNDLE)
    new_year = datetime(2026, 1, 1, tzinfo=UTC)
    for number in ("Thirty", "Forty"):
        await world.put("returns", f"{number} days.", valid_from=new_year)
        await live.look()
        assert await texts(live, "days") == [f"{number} days."]
    assert await texts(live, "days", at=datetime(2025, 1, 1, tzinfo=UTC)) == []
    before = generations.current().served[-2]
    generations.note(pinned=before)
    await live.look()
    assert identity(live) == before and await texts(live, "days") == ["Thirty days."]
    generations.note(pinned="")
    for number in ("Fifty", "Sixty"):
        await world.put("returns", f"{number} days.", valid_from=new_year)
        await live.look()
    assert await texts(live, "days") == ["Sixty days."]
    assert len((await client.get_collections()).collections) == 2
    await client.close()


async def test_old_generations_are_deleted_but_for_what_is_needed(world: World) -> None:
    live = await world.search()
    first = identity(live)
    for number in range(12):
        await world.put("returns", f"{number} days.")
        await live.look()
    generations = Generations(world.root / "index", Words())
    kept = [one.identity for one in generations.manifests()]
    assert identity(live) in kept and first not in kept
    assert len(kept) <= 6


SECTIONS = 3


def sections(marker: str) -> str:
    """A document of three passages, all of which say the same marker."""
    return "\n".join(
        f"# Section {section}\nAbout a return, {marker}. " + "And so on, at some length. " * 9
        for section in range(SECTIONS)
    )


async def test_ten_writers_and_ten_readers_at_once(world: World) -> None:
    """Every answer has all passages of a document in one version, or none of them."""
    live = await world.search()
    done = asyncio.Event()
    seen: set[str] = set()

    async def write(number: int, version: int) -> None:
        await world.put(f"d{number}", sections(f"of {number} in version {version}"))

    async def look() -> None:
        by_document: dict[str, list[str]] = {}
        for chunk in (await ask(live, "about a return")).chunks:
            by_document.setdefault(chunk.document_id, []).append(chunk.version)
        for versions in by_document.values():
            assert len(versions) == SECTIONS and len(set(versions)) == 1
            seen.update(versions)

    async def read() -> None:
        while not done.is_set():
            await look()
            await asyncio.sleep(0)

    keeping_up = asyncio.create_task(live.keep_up())
    readers = [asyncio.create_task(read()) for _ in range(10)]
    for version in range(4):
        await asyncio.gather(*(write(number, version) for number in range(10)))
        await live.look()
        await look()
    done.set()
    await asyncio.gather(*readers)
    keeping_up.cancel()
    final = await texts(live, "about a return")
    assert len(final) == 10 * SECTIONS
    assert all("in version 3" in text for text in final)
    assert len(seen) >= 40
