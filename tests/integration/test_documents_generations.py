"""Documents of the log in one generation after the other: made, shared, gone back to, deleted."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient
from tests.integration.test_index_build import Words
from tests.support.broker import connected, running_broker
from tests.support.documents import BUNDLE, World, ask, identity, opened, texts
from tests.support.indexes import WARNINGS

from interlock.bundles.knowledge import KnowledgeSource
from interlock.bundles.model import Bundle
from interlock.retriever.corpus import Corpus
from interlock.retriever.engines.qdrant import QdrantServer
from interlock.retriever.generations.building import generation_again
from interlock.retriever.generations.folder import Generations
from interlock.retriever.live import LiveSearch
from interlock.runtime.broker.server import EmbeddedBroker
from interlock.runtime.errors import UserError
from interlock.runtime.log import JetStreamLog

pytestmark = WARNINGS


@pytest.fixture
async def world(fresh_broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(fresh_broker, tmp_path / "world") as made:
        yield made


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


async def test_another_log_means_another_index(world: World, tmp_path: Path) -> None:
    await world.put("returns", "Thirty days.")
    await world.search()
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
        await generation_again(generations, identity(live))
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
    (collection,) = (await client.get_collections()).collections
    points, _ = await client.scroll(collection.name)
    assert len(points) == 2 * 2  # two generations: a passage and a mark each
    await client.close()


async def test_what_another_retriever_deleted_on_a_server_is_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two with folders of their own one falls behind, and answers with all of it or says so."""
    monkeypatch.setattr("interlock.retriever.live.ASK_S", 0.0)
    client = AsyncQdrantClient(":memory:")

    def live(name: str) -> LiveSearch:
        folder = world.root / name
        server = QdrantServer(client)
        return LiveSearch(
            world.root, world.events, Generations(folder, Words(), Corpus(folder), server, keep=2)
        )

    one, other = live("one"), live("other")
    await world.put("returns", "Ten days.")
    for each in (one, other):
        await each.start()
        await each.open(BUNDLE)
    old = identity(other)
    other._generations.note(pinned=old)
    for number in ("Twenty", "Thirty", "Forty", "Fifty"):
        await world.put("returns", f"{number} days.")
        await one.look()
    with pytest.raises(UserError, match="not on the server any more"):
        await other.look()
    other._generations.note(pinned="")
    await other.look()
    assert await texts(other, "days") == await texts(one, "days") == ["Fifty days."]
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
