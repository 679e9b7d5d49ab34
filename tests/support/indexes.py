"""Every place an index can be, and passages to put there."""

import atexit
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient
from tests.support.engines import serving
from tests.support.lucene import Product
from tests.support.postgres import postgres_server

from interlock.retriever.documents import Passage
from interlock.retriever.engines.embedded import EmbeddedIndex
from interlock.retriever.engines.index import Entry, Index, Query, Store, half
from interlock.retriever.engines.lucene import ELASTICSEARCH, OPENSEARCH, LuceneServer
from interlock.retriever.engines.milvus import MilvusServer
from interlock.retriever.engines.pgvector import PgServer
from interlock.retriever.engines.pinecone import PineconeServer
from interlock.retriever.engines.qdrant import QdrantServer
from interlock.retriever.engines.server import Server
from interlock.retriever.engines.weaviate import WeaviateServer
from interlock.retriever.ranking.keywords import passage_weights, query_weights, terms
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Ranking

WARNINGS = [
    # What the client's local mode says whenever it is asked for what only a server has.
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
    # pgserver asks for a folder of the desktop session, which a server does not have.
    pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR is not set"),
]

IDENTITY = digest_bytes(b"the index under test")
DIMENSIONS = 8
TENANTS, SOURCES, SCOPES = ("acme", "globex"), ("help", "notes"), ("staff", "vip", "c-17")

MakeServer = Callable[[], AbstractAsyncContextManager[Server]]
Opened = Callable[[], AbstractAsyncContextManager[Store]]


@cache
def stand_in(product: Product = "opensearch") -> str:
    """The URL of a server that answers as those do that cannot run here."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(serving(product))[0]


@asynccontextmanager
async def qdrant() -> AsyncIterator[Server]:
    """The client's local mode."""
    server = QdrantServer(AsyncQdrantClient(":memory:"))
    yield server
    await server.close()


@asynccontextmanager
async def pgvector() -> AsyncIterator[Server]:
    """A real PostgreSQL."""
    server = PgServer(postgres_server())
    yield server
    await server.close()


@asynccontextmanager
async def milvus() -> AsyncIterator[Server]:
    """milvus-lite, with a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = MilvusServer(import_module("pymilvus").MilvusClient(f"{folder}/index.db"))
        yield server
        await server.close()


@asynccontextmanager
async def opensearch() -> AsyncIterator[Server]:
    """OpenSearch's own client."""
    url = os.environ.get("INTERLOCK_TEST_OPENSEARCH_URL") or stand_in()
    server = LuceneServer(import_module("opensearchpy").AsyncOpenSearch(url), OPENSEARCH)
    yield server
    await server.close()


@asynccontextmanager
async def elasticsearch() -> AsyncIterator[Server]:
    """Elasticsearch's own client."""
    url = os.environ.get("INTERLOCK_TEST_ELASTICSEARCH_URL") or stand_in("elasticsearch")
    server = LuceneServer(import_module("elasticsearch").AsyncElasticsearch(url), ELASTICSEARCH)
    yield server
    await server.close()


@asynccontextmanager
async def pinecone() -> AsyncIterator[Server]:
    """Pinecone's own client."""
    with serving() as (url, _):
        server = PineconeServer(import_module("pinecone").AsyncIndex(host=url, api_key="none"))
        yield server
        await server.close()


@asynccontextmanager
async def weaviate() -> AsyncIterator[Server]:
    """Weaviate's API."""
    url = os.environ.get("INTERLOCK_TEST_WEAVIATE_URL") or stand_in()
    server = WeaviateServer(url, os.environ.get("INTERLOCK_TEST_WEAVIATE_API_KEY"))
    yield server
    await server.close()


@asynccontextmanager
async def embedded() -> AsyncIterator[Store]:
    """An empty embedded index."""
    with tempfile.TemporaryDirectory() as folder:
        yield EmbeddedIndex.create(Path(folder), IDENTITY, DIMENSIONS)


@cache
def one_milvus() -> Any:
    """One milvus-lite of this process, opened when it is first wanted."""
    folder = tempfile.mkdtemp(prefix="interlock-milvus-")
    client: Any = import_module("pymilvus").MilvusClient(f"{folder}/index.db")
    atexit.register(client.close)
    return client


@asynccontextmanager
async def emptied_milvus() -> AsyncIterator[Store]:
    """An empty index in milvus-lite, emptied and kept: making one takes longer than a test."""
    index = await MilvusServer(one_milvus()).index(IDENTITY, DIMENSIONS, ())
    yield index
    one_milvus().delete(index.name, filter="tenant != ''")


def empty(make: MakeServer) -> Opened:
    """An empty index on a server."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        async with make() as server:
            index = await server.index(IDENTITY, DIMENSIONS, ())
            yield index
            await server.drop(index.name)

    opened.__name__ = make.__name__
    return opened


# Most come with extras, which not everybody installs.
_NEEDS = {
    qdrant: "qdrant_client",
    weaviate: "httpx",
    pgvector: "pgserver",
    milvus: "milvus_lite",
    opensearch: "opensearchpy",
    elasticsearch: "elasticsearch",
    pinecone: "pinecone",
}
LIVE: dict[MakeServer, str] = {
    opensearch: "INTERLOCK_TEST_OPENSEARCH_URL",
    elasticsearch: "INTERLOCK_TEST_ELASTICSEARCH_URL",
    weaviate: "INTERLOCK_TEST_WEAVIATE_URL",
}
SERVERS: list[MakeServer] = [make for make, needed in _NEEDS.items() if find_spec(needed)]
ENGINES: list[Opened] = [
    embedded,
    *(emptied_milvus if make is milvus else empty(make) for make in SERVERS),
]


def _live(name: str) -> Any:
    """The mark of a test that asks a real server, because a variable names one."""
    named = {make.__name__ for make, variable in LIVE.items() if os.environ.get(variable)}
    return pytest.mark.live if name in named else ()


servers = pytest.mark.parametrize(
    "make", [pytest.param(one, id=one.__name__, marks=_live(one.__name__)) for one in SERVERS]
)
engines = pytest.mark.parametrize(
    "opened", [pytest.param(one, id=one.__name__, marks=_live(one.__name__)) for one in ENGINES]
)


def vector(text: str) -> NDArray[np.float32]:
    """A unit vector with positive parts only: everything is similar to everything."""
    raw = np.frombuffer(hashlib.blake2b(text.encode(), digest_size=DIMENSIONS).digest(), np.uint8)
    parts = raw.astype(np.float32) + 1
    return half((parts / np.linalg.norm(parts)).astype(np.float32))


def entry(
    name: str,
    text: str = "refund",
    *,
    tenant: str = "acme",
    source: str = "help",
    scopes: Collection[str] = (),
) -> Entry:
    """A passage with its vectors."""
    document = f"{tenant}/{source}/{name}"
    passage = Passage(
        chunk_id=f"{document}#1",
        document_id=document,
        version=digest_bytes(name.encode()),
        digest=digest_bytes(text.encode()),
        tenant=tenant,
        source=source,
        trust="trusted",
        scopes=tuple(sorted(scopes)),
        title=name,
        url=None,
        heading="",
        text=text,
    )
    return Entry(passage, vector(text), passage_weights(terms(text), 4.0))


def query(text: str) -> Query:
    """A question in every form an engine may want."""
    return Query(text, vector(text), query_weights(terms(text)))


def ids(ranking: Ranking) -> list[str]:
    """What a list has, in its order."""
    return [hit.chunk_id for hit in ranking.hits]


async def ask(
    index: Index,
    text: str,
    *,
    tenant: str = "acme",
    scopes: Collection[str] = (),
    sources: Collection[str] = SOURCES,
    limit: int = 50,
) -> dict[str, Ranking]:
    """Both legs, by name."""
    legs = await index.search(
        query(text), tenant=tenant, scopes=scopes, sources=sources, limit=limit
    )
    return {leg.step: leg for leg in legs}
