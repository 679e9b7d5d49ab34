"""Generations on every kind of index server: made, gone back to, deleted when they are old."""

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient
from tests.integration.test_index_build import Words
from tests.integration.test_index_conformance import postgres, stand_in
from tests.support.engines import serving

from interlock.bundles.model import RetrievalSpec
from interlock.retriever.documents import Document, Passage, cut
from interlock.retriever.generations import Generations
from interlock.retriever.parts import Open, on_postgres, on_qdrant, on_weaviate
from interlock.retriever.pgvector import connect
from interlock.retriever.search import SearchRequest
from interlock.retriever.searcher import Searcher
from interlock.retriever.served import delete_outdated, generation, generation_again
from interlock.retriever.weaviate import connect as connect_weaviate
from interlock.runtime.errors import UserError
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Trust

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
    pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR is not set"),
]

Server = Callable[[], AbstractAsyncContextManager[Open]]


@asynccontextmanager
async def qdrant() -> AsyncIterator[Open]:
    client = AsyncQdrantClient(":memory:")
    yield on_qdrant(client)
    await client.close()


@asynccontextmanager
async def pgvector() -> AsyncIterator[Open]:
    pool = await connect(postgres())
    yield on_postgres(pool)
    await pool.close()


@asynccontextmanager
async def milvus() -> AsyncIterator[Open]:
    from interlock.retriever.milvus import MilvusIndex

    with tempfile.TemporaryDirectory() as folder:
        client: Any = import_module("pymilvus").MilvusClient(f"{folder}/index.db")

        async def opened(identity: str, dimension: int, audiences: Any) -> Any:
            return await MilvusIndex.create(client, identity, dimension, audiences)

        yield opened
        client.close()


@asynccontextmanager
async def opensearch() -> AsyncIterator[Open]:
    from interlock.retriever.lucene import OPENSEARCH, LuceneIndex

    client: Any = import_module("opensearchpy").AsyncOpenSearch(stand_in())

    async def opened(identity: str, dimension: int, audiences: Any) -> Any:
        return await LuceneIndex.create(client, OPENSEARCH, identity, dimension, audiences)

    yield opened
    await client.close()


@asynccontextmanager
async def pinecone() -> AsyncIterator[Open]:
    from interlock.retriever.pinecone import PineconeIndex

    with serving() as (url, _):
        client: Any = import_module("pinecone").AsyncIndex(host=url, api_key="none")

        async def opened(identity: str, dimension: int, audiences: Any) -> Any:
            return PineconeIndex(client, identity, dimension, audiences)

        yield opened
        await client.close()


@asynccontextmanager
async def weaviate() -> AsyncIterator[Open]:
    async with connect_weaviate(stand_in()) as client:
        yield on_weaviate(client)


SERVERS: list[Server] = [qdrant, weaviate]
for module, server in (
    ("pgserver", pgvector),
    ("milvus_lite", milvus),
    ("opensearchpy", opensearch),
    ("pinecone", pinecone),
):
    if find_spec(module):
        SERVERS.append(server)


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


@pytest.mark.parametrize("server", SERVERS)
async def test_old_generations_go_and_the_one_before_answers_again(
    server: Server, tmp_path: Path
) -> None:
    async with server() as opened:
        generations = Generations(tmp_path, Words(), opened=opened, keep=2)
        made: list[str] = []
        for number in range(4):
            searcher = await generation(generations, passages(f"A return takes {number} days."))
            made.append(searcher.identity)
            generations.note(served=searcher.identity)
            await delete_outdated(generations, {searcher.identity})
        assert {one.identity for one in generations.manifests()} == set(made[2:])

        # Another process, which knows what is in the folder alone.
        again = Generations(tmp_path, Words(), opened=opened)
        before = await generation_again(again, made[2])
        assert await texts(before, "staff") == ["A return takes 2 days."]
        assert await texts(before) == []
        with pytest.raises(UserError, match="there is no index"):
            await generation_again(again, made[0])
        gone = await opened(made[0], Words().dimensions, ())
        assert await gone.size() == 0


@pytest.mark.parametrize("server", SERVERS)
async def test_what_is_pinned_or_answers_is_never_deleted(server: Server, tmp_path: Path) -> None:
    async with server() as opened:
        generations = Generations(tmp_path, Words(), opened=opened, keep=2)
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


@pytest.mark.parametrize("server", SERVERS)
async def test_reindexing_fills_it_again(server: Server, tmp_path: Path) -> None:
    async with server() as opened:
        generations = Generations(tmp_path, Words(), opened=opened)
        content = passages("A return takes nine days.")
        identity = (await generation(generations, content)).identity
        await (await opened(identity, Words().dimensions, ())).drop()
        with pytest.raises(UserError, match="not on the server any more"):
            await generation_again(generations, identity)
        made = await generation(generations, content, anew=True)
        assert made.identity == identity
        assert await texts(made, "staff") == ["A return takes nine days."]
