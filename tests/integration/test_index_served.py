"""Generations on every kind of index server: made, gone back to, deleted when they are old."""

import asyncio
import socket
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from qdrant_client.models import Distance, VectorParams
from tests.integration.test_index_build import Words
from tests.integration.test_stage_filter import call
from tests.support.engines import serving
from tests.support.indexes import DIMENSIONS, IDENTITY, WARNINGS, MakeServer, qdrant, servers

from interlock.bundles.knowledge import RetrievalSpec
from interlock.retriever.documents import Document, Passage, cut
from interlock.retriever.engines.pinecone import PineconeServer
from interlock.retriever.engines.qdrant import QdrantServer
from interlock.retriever.engines.weaviate import WeaviateServer
from interlock.retriever.generations.building import delete_outdated, generation, generation_again
from interlock.retriever.generations.composed import versioned
from interlock.retriever.generations.content import Content, key_of
from interlock.retriever.generations.folder import PARTS_LOCK, Generations
from interlock.retriever.generations.served import (
    delete_unknown,
    index_at,
    place_of,
    unknown_indexes,
)
from interlock.retriever.parts import server_of
from interlock.retriever.search import SearchRequest
from interlock.retriever.searcher import Searcher
from interlock.retriever.settings import RetrieverSettings
from interlock.runtime.errors import RetryLater, UserError
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Trust

pytestmark = WARNINGS


def passages(text: str) -> list[Passage]:
    document = Document(
        document_id="acme/help/returns",
        version=digest_bytes(text.encode()),
        tenant="acme",
        source="help",
        trust=Trust.TRUSTED,
        scopes=("staff",),
        title="Returns",
        url=None,
        text=text,
    )
    return list(cut(document))


def content(text: str) -> Content:
    return Content.of(passages(text))


async def texts(searcher: Searcher, *scopes: str) -> list[str]:
    asked = SearchRequest(
        query="return days", tenant="acme", scopes=scopes, sources=("help",), spec=RetrievalSpec()
    )
    return [chunk.text for chunk in (await searcher.search(asked)).chunks]


NAME = "acme/help/returns"


async def stored(generations: Generations) -> set[str]:
    """The keys of the versions of the one document that are on the server."""
    index = await index_at(generations, place_of(generations, 0), [("staff",)])
    keys = [key_of(content(f"A return takes {number} days.").lines[NAME]) for number in range(4)]
    found = set()
    for number, key in enumerate(keys):
        (one,) = passages(f"A return takes {number} days.")
        names = [versioned(one.chunk_id, key)]
        if await index.fetch(names, tenant="acme", scopes=("staff",), sources=("help",)):
            found.add(key)
    return found


@servers
async def test_old_generations_go_and_the_one_before_answers_again(
    make: MakeServer, tmp_path: Path
) -> None:
    async with make() as server:
        generations = Generations(tmp_path, Words(), server=server, keep=2)
        made: list[str] = []
        for number in range(4):
            searcher = await generation(generations, content(f"A return takes {number} days."))
            made.append(searcher.identity)
            generations.note(served=searcher.identity)
            await delete_outdated(generations, {searcher.identity})
        assert {one.identity for one in generations.manifests()} == set(made[2:])

        # Another process, which knows what is in the folder alone.
        again = Generations(tmp_path, Words(), server=server)
        before = await generation_again(again, made[2])
        assert await texts(before, "staff") == ["A return takes 2 days."]
        assert await texts(before) == []
        with pytest.raises(UserError, match="there is no index"):
            await generation_again(again, made[0])
        assert await stored(generations) == {
            *(key_of(content(f"A return takes {number} days.").lines[NAME]) for number in (2, 3)),
        }


@servers
async def test_what_is_pinned_or_answers_is_never_deleted(make: MakeServer, tmp_path: Path) -> None:
    async with make() as server:
        generations = Generations(tmp_path, Words(), server=server, keep=2)
        made = []
        for number in range(5):
            searcher = await generation(generations, content(f"{number} days of return."))
            made.append(searcher)
            generations.note(served=searcher.identity)
        generations.note(pinned=made[0].identity)
        await delete_outdated(generations, {made[1].identity})
        assert {one.identity for one in generations.manifests()} == {
            made[place].identity for place in (0, 1, 3, 4)
        }
        for place in (0, 1, 3, 4):
            assert await texts(made[place], "staff") == [f"{place} days of return."]


@servers
async def test_reindexing_fills_it_again(make: MakeServer, tmp_path: Path) -> None:
    async with make() as server:
        server.settles_s = 0.0  # it is looked at at once
        generations = Generations(tmp_path, Words(), server=server)
        said = content("A return takes nine days.")
        identity = (await generation(generations, said)).identity
        await server.drop(server.name_of(place_of(generations, 0)))
        with pytest.raises(UserError, match="not on the server any more"):
            await generation_again(generations, identity)
        made = await generation(generations, said, anew=True)
        assert made.identity == identity
        assert await texts(made, "staff") == ["A return takes nine days."]


async def test_a_server_that_is_away_is_asked_again_later() -> None:
    """Whatever its client raises; and nothing of what it says goes on the log."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        for given in AWAY:
            settings = {name: url.format(where) for name, url in given.items()}
            server = server_of(RetrieverSettings.model_validate(settings))
            assert server is not None
            for asked in (
                server.index(IDENTITY, DIMENSIONS, ()),
                server.indexes(),
                server.drop(server.name_of(IDENTITY)),
            ):
                with pytest.raises(RetryLater, match="does not answer") as caught:
                    await asked
                assert "secret" not in str(caught.value)
            await server.close()


AWAY = [
    {"qdrant_url": "http://{}"},
    {"weaviate_url": "http://{}"},
    *([{"postgres_index_url": "postgresql://me:secret@{}/x"}] if find_spec("asyncpg") else []),
    *([{"opensearch_url": "http://me:secret@{}"}] if find_spec("opensearchpy") else []),
    *([{"elasticsearch_url": "http://{}"}] if find_spec("elasticsearch") else []),
]


@servers
async def test_what_no_generation_has_is_named_and_can_be_deleted(
    make: MakeServer, tmp_path: Path
) -> None:
    """As after another embedder was chosen, say; another installation's indexes are not named."""
    async with make() as server:
        generations = Generations(tmp_path, Words(), server=server, installation="mine")
        theirs = replace(generations, folder=tmp_path / "theirs", installation="theirs")
        mine = (await generation(generations, content("A return takes nine days."))).identity
        await generation(theirs, content("A return takes nine days."))
        left = server.name_of(place_of(generations, 7))
        await server.index(place_of(generations, 7), Words().dimensions, ())
        if not isinstance(server, PineconeServer):  # an empty namespace is not there
            assert await unknown_indexes(generations, server) == [left]

        # The name of one that answers is never taken, whoever gives it.
        asked = [left, server.name_of(place_of(generations, 0))]
        with Generations(tmp_path, Words(), server=server).locked(PARTS_LOCK, shared=True):
            assert await delete_unknown(generations, server, asked) == []
        assert await delete_unknown(generations, server, asked) == [left]
        assert left not in await server.indexes()
        for its, identity in ((generations, mine), (theirs, mine)):
            assert await texts(await generation_again(its, identity), "staff")


async def test_names_of_earlier_releases_are_ours_and_others_are_not() -> None:
    digits = "0123456789abcdef" * 2
    earlier = {f"interlock-{digits}", f"interlock_{digits}"}
    async with qdrant() as server:
        assert isinstance(server, QdrantServer)
        for name in (*earlier, "interlock-handbook", f"theirs_{digits}", f"interlock_{digits}x"):
            await server._client.create_collection(
                name, VectorParams(size=2, distance=Distance.DOT)
            )
        assert await server.indexes() == earlier


def test_prune_asks_first_and_takes_only_what_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as (url, engines):
        monkeypatch.setenv("INTERLOCK_WEAVIATE_URL", url)
        place = place_of(Generations(tmp_path, Words()), 0)
        left = WeaviateServer(url).name_of(place)

        async def leave() -> None:
            server = WeaviateServer(url)
            await server.index(place, DIMENSIONS, ())
            await server.close()

        asyncio.run(leave())
        where = ("--state", str(tmp_path))
        assert call(("index", "status", "--json", *where)).lines[0]["unknown"] == [left]
        assert call(("index", "prune", "--dry-run", *where)).out == f"would delete {left}\n"
        unasked = call(("index", "prune", *where))
        assert unasked.status == 1 and left in unasked.err
        assert list(engines.weaviate.collections) == [left]
        done = call(("index", "prune", "--yes", "--json", *where))
        assert done.lines == [{"unknown": [left], "deleted": [left]}]
        assert not engines.weaviate.collections
        assert call(("index", "prune", "--yes", *where)).out == "there is nothing to delete\n"
    gone = call(("index", "prune", *where))
    assert gone.status == 1 and gone.err.count("\n") == 1 and "does not answer" in gone.err


def test_there_is_nothing_to_prune_of_an_embedded_index(tmp_path: Path) -> None:
    told = call(("index", "prune", "--state", str(tmp_path)))
    assert told.status == 1 and "no server" in told.err
