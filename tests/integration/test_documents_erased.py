"""A document that is erased: no byte of it is left in what a retriever keeps."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient
from tests.integration.test_index_build import Words
from tests.support.broker import connected
from tests.support.documents import BUNDLE, Counting, World, identity, opened, texts

from interlock.retriever.corpus import Corpus
from interlock.retriever.engines.qdrant import QdrantServer
from interlock.retriever.follow import catch_up
from interlock.retriever.generations.building import generation
from interlock.retriever.generations.content import Content
from interlock.retriever.generations.folder import Generations
from interlock.retriever.live import LiveSearch
from interlock.retriever.service import all_documents
from interlock.runtime.broker.permissions import ERASER
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.errors import RetryLater
from interlock.sdk import DocumentErased, Documents
from interlock_contracts.documents import DocumentEvent

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]

SECRET = "hunter2-swordfish"


@pytest.fixture
async def world(fresh_broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(fresh_broker, tmp_path / "world") as made:
        yield made


def holding(folder: Path, words: str = SECRET) -> list[str]:
    """The files below a folder that hold these words."""
    files = (one for one in folder.rglob("*") if one.is_file())
    return [str(one.relative_to(folder)) for one in files if words.encode() in one.read_bytes()]


async def leaked(world: World) -> None:
    """A runbook with a secret in two versions, mended in a third; and others beside it."""
    for number in range(5):
        await world.put(f"d{number}", f"Document {number} about a return.")
    for version in ("first", "second"):
        await world.put("runbook", f"The password of the return, {version}: {SECRET}. " * 40)


def generations_of(world: World) -> Generations:
    folder = world.root / "index"
    return Generations(folder, Counting(world.embedded), Corpus(folder))


async def test_nothing_of_it_is_left_in_any_file(world: World) -> None:
    await leaked(world)
    live = await world.search()
    first = identity(live)
    await world.put("runbook", "The password is in the vault.")
    await live.look()
    generations = generations_of(world)
    generations.note(pinned=first)  # somebody went back, to the very index that has it
    await live.look()
    assert any(SECRET in text for text in await texts(live, "password of the return"))
    index = world.root / "index"
    with Corpus(index).opened() as connection:  # SQLite may keep the bytes of what it let go
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("INSERT INTO parts VALUES ('a', 1, 0, ?)", (SECRET * 1000,))
        connection.execute("DELETE FROM parts")
    assert len(holding(index)) >= 2
    (index / ".building-leftover").mkdir()
    (index / ".building-leftover/passages.jsonl").write_text(SECRET)
    (index / ("0" * 32)).mkdir()  # its deletion was cut off
    (index / ("0" * 32) / "passages.jsonl").write_text(SECRET)
    (index / ".reindex").mkdir()
    (index / ".reindex/documents-2.sqlite").write_text(SECRET)

    await world.documents.bury("help", "runbook")
    await live.look()
    assert holding(index) == []
    assert await texts(live, "password") == []
    assert len(await texts(live, "return")) == 5
    assert generations.current().pinned is None
    assert [one.identity for one in generations.manifests()] == [identity(live)]

    world.embedded.clear()
    about = world.documents.describe("help", "runbook")
    with pytest.raises(DocumentErased, match="was erased"):  # an old copy, say
        await world.documents.put(about, SECRET)
    await world.documents.put(about, "The password is in the vault.", again=True)
    await live.look()
    assert (await texts(live, "password"))[0] == "The password is in the vault."
    assert not any("Document" in text for text in world.embedded)  # their vectors were kept


async def test_what_was_removed_before_is_erased_all_the_same(world: World) -> None:
    await leaked(world)
    live = await world.search()
    await world.documents.remove("help", "runbook")
    await live.look()
    answering = identity(live)
    assert holding(world.root / "index")
    await world.documents.bury("help", "runbook")
    assert (await world.documents.bury("help", "runbook")).change == "unchanged"
    await live.look()
    assert holding(world.root / "index") == []
    assert identity(live) == answering
    assert [one.identity for one in generations_of(world).manifests()] == [answering]


async def test_a_retriever_that_was_away_follows_when_it_comes_back(world: World) -> None:
    await leaked(world)
    await world.search()
    await world.documents.bury("help", "runbook")
    await world.put("other", "Something else about a return.")
    live = await world.search()
    await live.look()
    assert holding(world.root / "index") == []
    assert len(await texts(live, "return")) == 6


async def test_a_scrub_that_others_stand_in_the_way_of_is_done_later(world: World) -> None:
    await leaked(world)
    live = await world.search()
    await world.documents.bury("help", "runbook")
    corpus = Corpus(world.root / "index")
    with corpus.opened() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM documents").fetchall()
        with pytest.raises(RetryLater, match="others read"):
            await live.look()
        assert await texts(live, "password") == []  # it is not found, whatever the file holds
        assert corpus.unscrubbed()
        reader.execute("ROLLBACK")
    await live.look()
    assert not corpus.unscrubbed()
    assert holding(world.root / "index") == []


async def test_a_generation_made_of_what_was_read_before_goes_too(world: World) -> None:
    """Another process read the documents, then the erasure came, then it wrote its index."""
    await leaked(world)
    live = await world.search()
    await world.documents.bury("help", "runbook")
    corpus = Corpus(world.root / "index")
    before = all_documents([], corpus, BUNDLE)
    content = Content.of(before.passages(before.lines))
    await live.look()
    await generation(generations_of(world), content, erasures=corpus.erasures() - 1)
    assert holding(world.root / "index")
    await world.put("other", "Something else about a return.")
    await live.look()
    assert holding(world.root / "index") == []


async def test_an_index_on_a_server_is_deleted_there(world: World) -> None:
    client = AsyncQdrantClient(":memory:")
    folder = world.root / "index"
    generations = Generations(folder, Words(), Corpus(folder), QdrantServer(client))
    live = LiveSearch(world.root, world.events, generations)
    await live.start()
    await live.open(BUNDLE)
    await leaked(world)
    for text in ("The password is in the vault.", "The password is in the other vault."):
        await live.look()
        await world.put("runbook", text)
    await live.look()
    (before,) = (await client.get_collections()).collections
    found, _ = await client.scroll(before.name, limit=100)
    assert SECRET in str(found)  # of the generations that one can go back to
    await world.documents.bury("help", "runbook")
    await live.look()
    (left,) = (await client.get_collections()).collections
    found, _ = await client.scroll(left.name, limit=100)
    assert left.name != before.name
    assert len(found) == 5 + 1 and SECRET not in str(found)  # five passages and a mark
    await client.close()


async def test_the_log_is_overwritten_and_nothing_brings_it_back(world: World) -> None:
    await leaked(world)
    await world.put("long", f"{SECRET} " + "and so on " * 60_000)  # several parts
    live = await world.search()
    for name in ("runbook", "long"):
        await world.documents.bury("help", name)
    await live.look()
    sequences = [
        message.sequence
        async for message in world.events.matching("ev.document.acme.*.*")
        if SECRET.encode() in message.body
    ]
    assert len(sequences) == 3
    async with connected(world.broker, ERASER) as client:
        for sequence in sequences:
            body = f'{{"seq": {sequence}, "no_erase": false}}'.encode()
            await client.request("$JS.API.STREAM.MSG.DELETE.EV", body)
    assert holding(world.root) == [] and holding(world.broker.state) == []
    again = await world.search("elsewhere")
    assert identity(again) == identity(live)
    assert await texts(again, "password") == []
    restarted = await world.search()  # its place on the log may be one of the erased
    assert identity(restarted) == identity(live)
    beside = Corpus(world.root / "beside")
    await catch_up(beside, world.events)
    Corpus(world.root / "index").mend(beside)
    assert holding(world.root) == []


async def test_a_folder_has_it_but_nothing_finds_it(world: World) -> None:
    file = world.root / "docs/acme/help/runbook.md"
    file.write_text(f"The password of the return is {SECRET}.")
    live = await world.search()
    assert await texts(live, "password")
    await world.documents.bury("help", "runbook")
    await live.look()
    assert await texts(live, "password") == []
    assert holding(world.root) == ["docs/acme/help/runbook.md"]
    with Corpus(world.root / "index").opened() as connection:
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (0,)


async def test_a_removal_by_somebody_else_at_that_moment_is_no_tombstone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.put("runbook", f"The password is {SECRET}.")
    head = Documents.head
    others = iter([True])

    async def late(self: Documents, source: str, name: str) -> DocumentEvent | None:
        found = await head(self, source, name)
        if next(others, False):
            await world.documents.remove(source, name)
        return found

    monkeypatch.setattr(Documents, "head", late)
    written = await world.documents.bury("help", "runbook")
    monkeypatch.undo()
    now = await world.documents.head("help", "runbook")
    assert now is not None and now.erased and now.version == written.version == 3
