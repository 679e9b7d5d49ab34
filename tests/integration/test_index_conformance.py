"""One suite for every engine behind the port `Index`."""

import asyncio
import atexit
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient
from tests.support.engines import serving

from interlock.retriever.documents import Passage
from interlock.retriever.embedded import EmbeddedIndex
from interlock.retriever.index import DENSE, KEYWORD, Coverage, Entry, Index, Query, half
from interlock.retriever.keywords import passage_weights, query_weights, terms
from interlock.retriever.lucene import ELASTICSEARCH, OPENSEARCH, LuceneIndex
from interlock.retriever.milvus import MilvusIndex
from interlock.retriever.pgvector import PgVectorIndex, connect
from interlock.retriever.pinecone import PineconeIndex
from interlock.retriever.qdrant import QdrantIndex
from interlock.retriever.weaviate import WeaviateIndex
from interlock.retriever.weaviate import connect as connect_weaviate
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Ranking

# What the client's local mode says whenever it is asked for what only a server has.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
    # pgserver asks for a folder of the desktop session, which a server does not have.
    pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR is not set"),
]

IDENTITY = digest_bytes(b"the index under test")
DIMENSIONS = 8
WORDS = ("refund", "parcel", "warranty", "A-1001", "battery", "invoice")
TENANTS, SOURCES, SCOPES = ("acme", "globex"), ("help", "notes"), ("staff", "vip", "c-17")

Opened = Callable[[], AbstractAsyncContextManager[Index]]


@asynccontextmanager
async def embedded() -> AsyncIterator[Index]:
    """An empty embedded index."""
    with tempfile.TemporaryDirectory() as folder:
        index = EmbeddedIndex.create(Path(folder), IDENTITY, DIMENSIONS)
        yield index


@asynccontextmanager
async def qdrant() -> AsyncIterator[Index]:
    """An empty index in the client's local mode."""
    client = AsyncQdrantClient(":memory:")
    yield await QdrantIndex.create(client, IDENTITY, DIMENSIONS)
    await client.close()


@cache
def postgres() -> str:
    """The URL of a PostgreSQL of this process, started when it is first wanted."""
    folder = tempfile.mkdtemp(prefix="interlock-pg-")
    server: Any = import_module("pgserver").get_server(folder, cleanup_mode="delete")
    atexit.register(server.cleanup)
    return str(server.get_uri())


@asynccontextmanager
async def pgvector() -> AsyncIterator[Index]:
    """An empty index in a real PostgreSQL."""
    pool = await connect(postgres())
    index = await PgVectorIndex.create(pool, IDENTITY, DIMENSIONS)
    yield index
    await index.drop()
    await pool.close()


@cache
def milvus_client() -> Any:
    """Milvus in this process, opened when it is first wanted."""
    folder = tempfile.mkdtemp(prefix="interlock-milvus-")
    client: Any = import_module("pymilvus").MilvusClient(f"{folder}/index.db")
    atexit.register(client.close)
    return client


@asynccontextmanager
async def milvus() -> AsyncIterator[Index]:
    """An empty index in milvus-lite."""
    client = milvus_client()
    index = await MilvusIndex.create(client, IDENTITY, DIMENSIONS)
    yield index
    # Emptied and kept: making a collection takes longer than a test.
    client.delete(index.name, filter="tenant != ''")


@cache
def stand_in() -> str:
    """The URL of a server that answers as those do that cannot run here."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(serving())[0]


@asynccontextmanager
async def opensearch() -> AsyncIterator[Index]:
    """An empty index behind OpenSearch's own client."""
    url = os.environ.get("INTERLOCK_TEST_OPENSEARCH_URL") or stand_in()
    client: Any = import_module("opensearchpy").AsyncOpenSearch(url)
    index = await LuceneIndex.create(client, OPENSEARCH, IDENTITY, DIMENSIONS)
    yield index
    await index.drop()
    await client.close()


@asynccontextmanager
async def elasticsearch() -> AsyncIterator[Index]:
    """An empty index behind Elasticsearch's own client."""
    url = os.environ.get("INTERLOCK_TEST_ELASTICSEARCH_URL") or stand_in()
    client: Any = import_module("elasticsearch").AsyncElasticsearch(url)
    index = await LuceneIndex.create(client, ELASTICSEARCH, IDENTITY, DIMENSIONS)
    yield index
    await index.drop()
    await client.close()


@asynccontextmanager
async def pinecone() -> AsyncIterator[Index]:
    """An empty index behind Pinecone's own client."""
    with serving() as (url, _):
        client: Any = import_module("pinecone").AsyncIndex(host=url, api_key="none")
        yield PineconeIndex(client, IDENTITY, DIMENSIONS)
        await client.close()


@asynccontextmanager
async def weaviate() -> AsyncIterator[Index]:
    """An empty index over Weaviate's API."""
    url = os.environ.get("INTERLOCK_TEST_WEAVIATE_URL") or stand_in()
    async with connect_weaviate(url, os.environ.get("INTERLOCK_TEST_WEAVIATE_API_KEY")) as client:
        index = await WeaviateIndex.create(client, IDENTITY)
        yield index
        await index.drop()


ENGINES: list[Opened] = [embedded, qdrant, weaviate]
if find_spec("pgserver") and find_spec("asyncpg"):
    # Both come with the extra `pgvector`, which not everybody installs.
    ENGINES.append(pgvector)

if find_spec("milvus_lite"):
    ENGINES.append(milvus)

for module, opens in (
    ("opensearchpy", opensearch),
    ("elasticsearch", elasticsearch),
    ("pinecone", pinecone),
):
    if find_spec(module):
        ENGINES.append(opens)
LIVE: dict[Opened, str] = {
    opensearch: "INTERLOCK_TEST_OPENSEARCH_URL",
    elasticsearch: "INTERLOCK_TEST_ELASTICSEARCH_URL",
    weaviate: "INTERLOCK_TEST_WEAVIATE_URL",
}

engines = pytest.mark.parametrize(
    "opened",
    [
        pytest.param(one, marks=pytest.mark.live if os.environ.get(LIVE.get(one, "")) else ())
        for one in ENGINES
    ],
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
    return Query(text, vector(text), query_weights(terms(text)))


def ids(ranking: Ranking) -> list[str]:
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
    legs = await index.search(
        query(text), tenant=tenant, scopes=scopes, sources=sources, limit=limit
    )
    return {leg.step: leg for leg in legs}


@engines
async def test_keyword_leg_finds_the_term_and_only_the_term(opened: Opened) -> None:
    async with opened() as index:
        await index.upsert([entry("a", "the refund is paid"), entry("b", "the parcel is late")])
        legs = await ask(index, "Refunds?")
    assert ids(legs[KEYWORD]) == ["acme/help/a#1"]
    assert set(ids(legs[DENSE])) == {"acme/help/a#1", "acme/help/b#1"}


@engines
async def test_scores_are_the_sum_of_products(opened: Opened) -> None:
    """Of the query's weights (2, for the idf is not the engine's) and the passage's."""
    async with opened() as index:
        await index.upsert([entry("a", "refund refund parcel"), entry("b", "parcel")])
        legs = await ask(index, "refund refund")
    frequency = 2 * 2.2 / (2 + 1.2 * (1 - 0.75 + 0.75 * 3 / 4.0))
    assert legs[KEYWORD].hits[0].score == pytest.approx(2 * frequency, rel=1e-5)


@engines
async def test_equal_scores_are_ordered_by_id(opened: Opened) -> None:
    async with opened() as index:
        await index.upsert([entry(name) for name in "dbca"])
        legs = await ask(index, "refund")
    for leg in legs.values():
        assert ids(leg) == [f"acme/help/{name}#1" for name in "abcd"]


@engines
async def test_limit_holds_per_leg(opened: Opened) -> None:
    async with opened() as index:
        await index.upsert([entry(f"n{number}", f"refund {number}") for number in range(9)])
        legs = await ask(index, "refund", limit=4)
    assert [len(leg.hits) for leg in legs.values()] == [4, 4]


@engines
async def test_a_leg_without_a_query_is_empty(opened: Opened) -> None:
    nothing = Query("", np.zeros(DIMENSIONS, np.float32), {})
    async with opened() as index:
        await index.upsert([entry("a")])
        legs = await index.search(nothing, tenant="acme", scopes=(), sources=SOURCES, limit=5)
    assert [leg.hits for leg in legs] == [(), ()]


@engines
async def test_a_passage_without_a_vector_is_still_found_by_its_words(opened: Opened) -> None:
    async with opened() as index:
        await index.upsert([replace(entry("a"), dense=np.zeros(DIMENSIONS, np.float32))])
        legs = await ask(index, "refund")
    assert ids(legs[KEYWORD]) == ["acme/help/a#1"]
    assert ids(legs[DENSE]) == []


@engines
async def test_upsert_replaces(opened: Opened) -> None:
    async with opened() as index:
        await index.upsert([entry("a", "refund")])
        await index.upsert([entry("a", "parcel")])
        assert ids((await ask(index, "refund"))[KEYWORD]) == []
        assert ids((await ask(index, "parcel"))[KEYWORD]) == ["acme/help/a#1"]
        coverage = await index.coverage(tenant="acme", scopes=(), sources=SOURCES)
    assert coverage == Coverage(indexed=1, readable=1)


@engines
async def test_writers_of_the_same_passages_do_not_disturb_each_other(opened: Opened) -> None:
    corpus = [entry(f"n{number}", f"refund {number}") for number in range(20)]
    async with opened() as index:
        await asyncio.gather(*(index.upsert(corpus) for _ in range(4)))
        coverage = await index.coverage(tenant="acme", scopes=(), sources=SOURCES)
        legs = await ask(index, "refund")
    assert coverage == Coverage(indexed=20, readable=20)
    assert len(legs[KEYWORD].hits) == 20


@engines
async def test_a_reader_needs_all_scopes(opened: Opened) -> None:
    async with opened() as index:
        await index.upsert([entry("a", scopes=("staff", "vip"))])
        for held in ((), ("staff",), ("vip",), ("c-17", "staff")):
            assert ids((await ask(index, "refund", scopes=held))[KEYWORD]) == []
        assert ids((await ask(index, "refund", scopes=("c-17", "staff", "vip")))[KEYWORD])


@engines
async def test_without_sources_there_is_nothing_to_find(opened: Opened) -> None:
    """As when all sources of a route are searched elsewhere."""
    async with opened() as index:
        await index.upsert([entry("a")])
        legs = await ask(index, "refund", sources=())
        found = await index.fetch(["acme/help/a#1"], tenant="acme", scopes=(), sources=())
        coverage = await index.coverage(tenant="acme", scopes=(), sources=())
    assert [leg.hits for leg in legs.values()] == [(), ()] and found == {}
    assert coverage == Coverage(indexed=0, readable=0)


@engines
async def test_only_what_is_valid_at_the_time_is_found(opened: Opened) -> None:
    """From its first moment on, before its last; who names no time finds everything."""
    stored = [entry(name) for name in "abc"]
    ends = replace(stored[1].passage, valid_until=1_000)
    begins = replace(stored[2].passage, valid_from=1_000)
    dated = [stored[0], replace(stored[1], passage=ends), replace(stored[2], passage=begins)]
    async with opened() as index:
        await index.upsert(dated)
        for at, names in ((999, "ab"), (1_000, "ac"), (None, "abc")):
            legs = await index.search(
                replace(query("refund"), at=at), tenant="acme", scopes=(), sources=SOURCES, limit=9
            )
            for leg in legs:
                assert ids(leg) == [f"acme/help/{name}#1" for name in names]


@engines
async def test_fetched_passages_are_what_was_stored(opened: Opened) -> None:
    stored = [entry("a", scopes=("staff",)), entry("b", tenant="globex"), entry("c")]
    names = [one.passage.chunk_id for one in stored]
    async with opened() as index:
        await index.upsert(stored)
        found = await index.fetch(names, tenant="acme", scopes=("staff",), sources=("help",))
        assert found == {names[0]: stored[0].passage, names[2]: stored[2].passage}
        assert await index.fetch([], tenant="acme", scopes=(), sources=("help",)) == {}


@engines
async def test_vectors_are_what_was_stored_of_what_may_be_read(opened: Opened) -> None:
    bare = replace(entry("bare"), dense=np.zeros(DIMENSIONS, np.float32))
    stored = [entry("a", "parcel"), entry("b", scopes=("vip",)), entry("c", tenant="globex"), bare]
    names = [one.passage.chunk_id for one in stored]
    async with opened() as index:
        await index.upsert(stored)
        found = await index.vectors(names, tenant="acme", scopes=("staff",), sources=("help",))
        nothing = await index.vectors([], tenant="acme", scopes=(), sources=("help",))
    assert list(found) == names[:1] and nothing == {}
    np.testing.assert_allclose(found[names[0]], vector("parcel"), rtol=1e-6)


@engines
async def test_who_asks_must_say_for_whom(opened: Opened) -> None:
    async with opened() as index:
        with pytest.raises(TypeError, match="tenant"):
            await index.search(query("refund"), scopes=(), sources=SOURCES, limit=5)  # type: ignore[call-arg]  # that is the point
        with pytest.raises(TypeError, match="scopes"):
            await index.search(query("refund"), tenant="acme", sources=SOURCES, limit=5)  # type: ignore[call-arg]  # that is the point


def scope_sets() -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(SCOPES))


@st.composite
def corpora(draw: st.DrawFn) -> list[Entry]:
    count = draw(st.integers(0, 12))
    return [
        entry(
            f"d{number}",
            " ".join(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5))),
            tenant=draw(st.sampled_from(TENANTS)),
            source=draw(st.sampled_from(SOURCES)),
            scopes=draw(scope_sets()),
        )
        for number in range(count)
    ]


async def everything(
    opened: Opened, corpus: Sequence[Entry], text: str, tenant: str, scopes: frozenset[str],
    sources: frozenset[str],
) -> tuple[dict[str, Ranking], set[str], Coverage]:  # fmt: skip
    """What an index of `corpus` says to this reader, asked in every way there is."""
    async with opened() as index:
        await index.upsert(corpus)
        legs = await ask(index, text, tenant=tenant, scopes=scopes, sources=sources)
        names = [one.passage.chunk_id for one in corpus]
        fetched = await index.fetch(names, tenant=tenant, scopes=scopes, sources=sources)
        coverage = await index.coverage(tenant=tenant, scopes=scopes, sources=sources)
    return legs, set(fetched), coverage


@engines
@settings(
    max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    corpus=corpora(),
    word=st.sampled_from(WORDS),
    tenant=st.sampled_from(TENANTS),
    scopes=scope_sets(),
    sources=st.frozensets(st.sampled_from(SOURCES), min_size=1),
)
def test_nobody_reads_or_is_influenced_by_what_is_not_theirs(
    opened: Opened,
    corpus: list[Entry],
    word: str,
    tenant: str,
    scopes: frozenset[str],
    sources: frozenset[str],
) -> None:
    """Against a brute-force oracle; and as if the rest of the corpus did not exist."""
    of_sources = [
        one
        for one in corpus
        if one.passage.tenant == tenant and one.passage.source in sources
    ]  # fmt: skip
    readable = [one for one in of_sources if scopes.issuperset(one.passage.scopes)]
    names = {one.passage.chunk_id for one in readable}
    matching = {one.passage.chunk_id for one in readable if word in one.passage.text.split()}

    legs, fetched, coverage = asyncio.run(
        everything(opened, corpus, word, tenant, scopes, sources)
    )  # fmt: skip

    assert set(ids(legs[DENSE])) == names
    assert set(ids(legs[KEYWORD])) == matching
    assert fetched == names
    assert coverage == Coverage(indexed=len(of_sources), readable=len(readable))
    alone, _, _ = asyncio.run(everything(opened, readable, word, tenant, scopes, sources))
    assert legs == alone


@engines
@settings(max_examples=10, deadline=None, derandomize=True)
@given(corpus=corpora(), data=st.data())
def test_order_does_not_depend_on_how_the_index_was_filled(
    opened: Opened, corpus: list[Entry], data: st.DataObject
) -> None:
    again = data.draw(st.permutations(corpus))
    words, every = " ".join(WORDS), frozenset(SCOPES)
    first, second = (
        asyncio.run(everything(opened, some, words, "acme", every, frozenset(SOURCES)))
        for some in (corpus, again)
    )
    assert first == second


async def test_engines_agree() -> None:
    """The same order everywhere; scores as close as 32-bit floats allow."""
    texts = ["refund parcel", "refund", "A-1001 invoice battery", "warranty refund invoice"]
    corpus = [entry(f"d{number}", text) for number, text in enumerate(texts)]
    answers = []
    for opened in ENGINES:
        async with opened() as index:
            await index.upsert(corpus)
            answers.append(await ask(index, "refund invoice A-1001"))
    for leg in (KEYWORD, DENSE):
        one, *others = (answer[leg] for answer in answers)
        for other in others:
            assert ids(one) == ids(other)
            assert [hit.score for hit in one.hits] == pytest.approx(
                [hit.score for hit in other.hits], rel=1e-5
            )


async def test_embedded_index_is_the_same_after_reload(tmp_path: Path) -> None:
    corpus = [
        entry(f"d{number}", " ".join(WORDS[: 1 + number % 5])) for number in range(230)
    ]  # fmt: skip
    index = EmbeddedIndex.create(tmp_path, IDENTITY, DIMENSIONS)
    await index.upsert(corpus)
    index.flush()
    before = await ask(index, "refund battery", limit=20)
    one, other = (EmbeddedIndex.open(tmp_path, IDENTITY) for _ in range(2))
    assert await ask(one, "refund battery", limit=20) == before
    assert await ask(other, "refund battery", limit=20) == before


async def test_an_index_that_was_opened_is_only_read(tmp_path: Path) -> None:
    EmbeddedIndex.create(tmp_path, IDENTITY, DIMENSIONS).flush()
    index = EmbeddedIndex.open(tmp_path, IDENTITY)
    assert [leg.hits for leg in (await ask(index, "refund")).values()] == [(), ()]
    with pytest.raises(RuntimeError, match="only read"):
        await index.upsert([entry("a")])


async def test_the_best_of_many_are_found_exactly(tmp_path: Path) -> None:
    """Among more rows than are looked at one by one, with ties at the cut and rows left out."""
    chance = np.random.default_rng(7)
    corpus = [
        entry(
            f"d{number:04d}",
            " ".join(chance.choice(WORDS, 3)),
            scopes=("staff",) if number % 5 == 0 else (),
        )
        for number in range(3_000)
    ]
    index = EmbeddedIndex.create(tmp_path, IDENTITY, DIMENSIONS)
    await index.upsert(corpus)
    legs = await ask(index, "refund battery", limit=20)
    wanted, near = query("refund battery"), vector("refund battery").astype(float)
    for leg, score in (
        (DENSE, lambda one: float(one.dense.astype(float) @ near)),
        (KEYWORD, lambda one: sum(one.keyword.get(k, 0.0) * v for k, v in wanted.keyword.items())),
    ):
        readable = [one for one in corpus if not one.passage.scopes]
        best = sorted((-round(score(one), 5), one.passage.chunk_id) for one in readable)[:20]
        assert ids(legs[leg]) == [name for _, name in best]
