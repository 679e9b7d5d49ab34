"""OpenSearch and Elasticsearch: each is asked in its own words, and refuses the other's."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import httpx
import pytest
from tests.support.engines import Engines, serving
from tests.support.indexes import DIMENSIONS, IDENTITY, SOURCES, ask, entry, ids
from tests.support.lucene import MEDIA, Product

from interlock.retriever.engines.index import DENSE, KEYWORD
from interlock.retriever.engines.lucene import ELASTICSEARCH, OPENSEARCH, Flavour, LuceneServer
from interlock.runtime.errors import RetryLater

FLAVOURS: dict[Product, Flavour] = {"opensearch": OPENSEARCH, "elasticsearch": ELASTICSEARCH}
CLIENTS: dict[Product, tuple[str, str]] = {
    "opensearch": ("opensearchpy", "AsyncOpenSearch"),
    "elasticsearch": ("elasticsearch", "AsyncElasticsearch"),
}
PRODUCTS: list[Product] = [name for name, (module, _) in CLIENTS.items() if find_spec(module)]
OTHER: dict[Product, Product] = {"opensearch": "elasticsearch", "elasticsearch": "opensearch"}

products = pytest.mark.parametrize("product", PRODUCTS)


def client_of(product: Product, url: str) -> Any:
    module, name = CLIENTS[product]
    return getattr(import_module(module), name)(url)


@pytest.fixture
def served(product: Product) -> Iterator[tuple[str, Engines]]:
    with serving(product) as made:
        yield made


@products
async def test_each_is_asked_in_its_own_words(
    product: Product, served: tuple[str, Engines]
) -> None:
    url, engines = served
    server = LuceneServer(client_of(product, url), FLAVOURS[product])
    index = await server.index(IDENTITY, DIMENSIONS, ())
    await index.upsert([entry("a", "refund"), entry("b", "parcel")])
    legs = await ask(index, "refund")
    assert ids(legs[KEYWORD]) == ["acme/help/a#1"] and len(legs[DENSE].hits) == 2
    names = [hit.chunk_id for hit in legs[DENSE].hits]
    found = await index.vectors(names, tenant="acme", scopes=(), sources=SOURCES)
    assert set(found) == set(names)
    await server.close()
    (made,) = [body[0] for _, _, body in engines.seen if body and "mappings" in body[0]]
    field = made["mappings"]["properties"][DENSE]
    searches = [body[0] for _, path, body in engines.seen if "_search" in path]
    scripts = [
        one["query"]["script_score"]["script"] for one in searches if "script_score" in one["query"]
    ]
    if product == "opensearch":
        assert field == {"type": "knn_vector", "dimension": DIMENSIONS}
        assert [one["lang"] for one in scripts] == ["knn"]
    else:
        assert field == {"type": "dense_vector", "dims": DIMENSIONS, "index": False}
        assert ["dotProduct" in one["source"] for one in scripts] == [True]
        assert searches[-1]["fields"] == [DENSE]


@products
async def test_the_others_words_are_refused(product: Product, served: tuple[str, Engines]) -> None:
    """Its field when an index is made, and its script when one is searched."""
    client = client_of(product, served[0])
    wrong = FLAVOURS[OTHER[product]]
    with pytest.raises(RetryLater, match="RequestError"):
        await LuceneServer(client, wrong).index(IDENTITY, DIMENSIONS, ())
    index = await LuceneServer(client, FLAVOURS[product]).index(IDENTITY, DIMENSIONS, ())
    await index.upsert([entry("a")])
    mixed = await LuceneServer(client, wrong).index(IDENTITY, DIMENSIONS, [()])
    with pytest.raises(RetryLater, match="RequestError"):
        await ask(mixed, "refund")
    await client.close()


GOOD = {"size": 1, "_source": ["body"], "query": {"bool": {"filter": []}}}
WRONG: list[dict[str, Any]] = [
    {"size": 10_001},
    {"size": 0},
    {"_source": "body"},
    {"knn": {"field": DENSE}},
    {"query": {"bool": {"filter": [{"term": {"nowhere": "acme"}}]}}},
    {"query": {"bool": {"filter": [{"term": {"body": "not indexed"}}]}}},
    {"query": {"bool": {"filter": [{"term": {"valid_from": 1}}]}}},
    {"query": {"bool": {"filter": [{"range": {"tenant": {"lte": 1}}}]}}},
    {"query": {"bool": {"filter": [{"range": {"valid_from": {"below": 1}}}]}}},
    {"query": {"bool": {"filter": [{"match_phrase": {"tenant": "acme"}}]}}},
    {"query": {"rank_feature": {"field": f"{KEYWORD}.1", "saturation": {}, "boost": 1}}},
    {"query": {"rank_feature": {"field": f"{KEYWORD}.1", "linear": {}, "boost": 0}}},
    {
        "query": {
            "bool": {
                "filter": [],
                "should": [{"term": {"tenant": "acme"}}] * 1_025,
                "minimum_should_match": 1,
            }
        }
    },
]


@products
@pytest.mark.parametrize("wrong", WRONG)
async def test_the_stand_in_refuses_what_is_not_documented(
    product: Product, served: tuple[str, Engines], wrong: dict[str, Any]
) -> None:
    client = client_of(product, served[0])
    server = LuceneServer(client, FLAVOURS[product])
    index = await server.index(IDENTITY, DIMENSIONS, ())
    await index.upsert([entry("a")])
    media = f"{MEDIA}json; compatible-with=9" if product == "elasticsearch" else "application/json"
    async with httpx.AsyncClient(base_url=served[0]) as plain:

        async def status(body: dict[str, Any], **said: str) -> int:
            headers = {"content-type": media, **said}
            found = await plain.post(f"/{index.name}/_search", json=body, headers=headers)
            return found.status_code

        assert await status(GOOD) == 200
        assert await status(GOOD | wrong) == 400
        others = "application/json" if product == "elasticsearch" else f"{MEDIA}json"
        assert await status(GOOD, **{"content-type": others}) == 406
    await server.close()
