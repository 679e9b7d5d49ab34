"""Generations on every kind of index server: made, gone back to, deleted when they are old."""

import asyncio
import socket
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
from interlock.retriever.entries import entries
from interlock.retriever.generations import Generations
from interlock.retriever.parts import server_of
from interlock.retriever.qdrant import QdrantServer
from interlock.retriever.search import SearchRequest
from interlock.retriever.searcher import Searcher
from interlock.retriever.served import (
    delete_outdated,
    delete_unknown,
    generation,
    generation_again,
    unknown_indexes,
)
from interlock.retriever.settings import RetrieverSettings
from interlock.retriever.weaviate import WeaviateServer
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


async def texts(searcher: Searcher, *scopes: str) -> list[str]:
    asked = SearchRequest(
        query="return days", tenant="acme", scopes=scopes, sources=("help",), spec=RetrievalSpec()
    )
    return [chunk.text for chunk in (await searcher.search(asked)).chunks]


@servers
async def test_old_generations_go_and_the_one_before_answers_again(
    make: MakeServer, tmp_path: Path
) -> None:
    async with make() as server:
        generations = Generations(tmp_path, Words(), server=server, keep=2)
        made: list[str] = []
        for number in range(4):
            searcher = await generation(generations, passages(f"A return takes {number} days."))
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
        there = await server.indexes()
        assert [server.name_of(one) in there for one in made] == [False, False, True, True]


@servers
async def test_what_is_pinned_or_answers_is_never_deleted(make: MakeServer, tmp_path: Path) -> None:
    async with make() as server:
        generations = Generations(tmp_path, Words(), server=server, keep=2)
        made = []
        for number in range(5):
            searcher = await generation(generations, passages(f"{number} days of return."))
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
        generations = Generations(tmp_path, Words(), server=server)
        content = passages("A return takes nine days.")
        identity = (await generation(generations, content)).identity
        await server.drop(server.name_of(identity))
        with pytest.raises(UserError, match="not on the server any more"):
            await generation_again(generations, identity)
        made = await generation(generations, content, anew=True)
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
    """As when the folder that knew of it is gone, or a release called it otherwise."""
    async with make() as server:
        generations = Generations(tmp_path, Words(), server=server)
        mine = (await generation(generations, passages("A return takes nine days."))).identity
        others = [digest_bytes(text.encode()) for text in ("left", "being filled")]
        for identity in others:
            index = await server.index(identity, Words().dimensions, ())
            await index.upsert(entries(passages("Of another time."), Words()))
        left, filling = map(server.name_of, others)
        unknown = await unknown_indexes(generations, server)
        assert {left, filling} <= set(unknown) and server.name_of(mine) not in unknown

        # The name of one that answers is never taken, whoever gives it.
        asked = [left, filling, server.name_of(mine)]
        with Generations(tmp_path, Words(), server=server).locked(others[1][7:39], shared=True):
            assert await delete_unknown(generations, server, asked) == [left]
        assert await delete_unknown(generations, server, [filling]) == [filling]
        assert not {left, filling} & await server.indexes()
        assert await texts(await generation_again(generations, mine), "staff")


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
        left = WeaviateServer(url).name_of(IDENTITY)

        async def leave() -> None:
            server = WeaviateServer(url)
            await server.index(IDENTITY, DIMENSIONS, ())
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
