"""What is asked of Weaviate, and what is made of its answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.support.engines import Engines, serving
from tests.support.indexes import DIMENSIONS, IDENTITY, SOURCES, entry, ids, query, vector
from tests.support.weaviate import Reader

from interlock.retriever.engines.index import DENSE, KEYWORD
from interlock.retriever.engines.server import ServerIndex
from interlock.retriever.engines.weaviate import CANDIDATES, WeaviateServer
from interlock.retriever.parts import server_of
from interlock.retriever.settings import RetrieverSettings
from interlock.runtime.errors import RetryLater, UserError

KEY = "a-key-nobody-should-see"


@pytest.fixture
def server() -> Iterator[tuple[str, Engines]]:
    with serving() as made:
        yield made


@asynccontextmanager
async def connected(url: str, key: str | None = None) -> AsyncIterator[WeaviateServer]:
    server = WeaviateServer(url, key)
    yield server
    await server.close()


@asynccontextmanager
async def opened(url: str, key: str | None = None) -> AsyncIterator[ServerIndex]:
    async with connected(url, key) as server:
        yield await server.index(IDENTITY, DIMENSIONS, ())


def asked(engines: Engines) -> list[Any]:
    """The one field in each query so far: (its operation, what was asked of it)."""
    queries = [body[0]["query"] for _, path, body in engines.seen if path == "/v1/graphql"]
    fields = [Reader(query).query()[0] for query in queries]
    return [(field.name, field.fields[0]) for field in fields]


def operand(field: str, operator: str, kind: str, value: Any) -> Any:
    return {"path": [field], "operator": operator, kind: value}


async def test_who_asks_is_in_every_query(server: tuple[str, Engines]) -> None:
    url, engines = server
    stored = [entry("a", scopes=("staff",)), entry("b", scopes=("vip",)), entry("c")]
    names = [one.passage.chunk_id for one in stored]
    who: dict[str, Any] = {"tenant": "acme", "scopes": ("staff",), "sources": ("help",)}
    async with opened(url) as index:
        await index.upsert(stored)
        await index.search(replace(query("refund"), at=1_700_000_000_000_000), **who, limit=7)
        await index.fetch(names, **who)
        await index.vectors(names, **who)
    readable = [
        operand("tenant", "Equal", "valueText", "acme"),
        operand("source", "ContainsAny", "valueText", ["help"]),
        operand("audience", "ContainsAny", "valueText", ["*", "staff"]),
    ]
    valid = [
        operand("valid_from", "LessThanEqual", "valueNumber", 1_700_000_000_000_000),
        operand("valid_until", "GreaterThan", "valueNumber", 1_700_000_000_000_000),
    ]
    these = [operand("chunk_id", "ContainsAny", "valueText", names)]
    wanted = [
        ("Get", [*readable, *valid], CANDIDATES),
        ("Get", [*readable, *valid], 7),
        ("Get", [*readable, *these], 3),
        ("Get", [*readable, *these], 3),
    ]
    found = [
        (operation, one.arguments["where"]["operands"], one.arguments["limit"])
        for operation, one in asked(engines)
    ]
    # Both legs are asked at the same time.
    assert found == wanted or [found[1], found[0], *found[2:]] == wanted
    words, near = (one.arguments for _, one in asked(engines)[:2])
    (term,) = query("refund").keyword
    assert words["bm25"] == {"query": str(term), "properties": ["terms"]}
    assert near["nearVector"]["vector"] == pytest.approx(vector("refund").tolist())


async def test_what_is_stored_is_indexed_only_for_what_it_is_asked(
    server: tuple[str, Engines],
) -> None:
    url, engines = server
    async with opened(url) as index:
        await index.upsert([entry("a")])
    made = engines.weaviate.collections[index.name].properties
    by_word = {name for name, one in made.items() if one.get("indexSearchable")}
    whole = {name for name, one in made.items() if one.get("tokenization") == "field"}
    plain = {name for name, one in made.items() if one.get("indexFilterable") is False}
    assert by_word == {"terms"} and plain == {"terms", "weights", "body"}
    assert whole == {"chunk_id", "tenant", "source", "audience"}
    ((_, _, (batch,)),) = [one for one in engines.seen if one[1] == "/v1/batch/objects"]
    (stored,) = batch["objects"]
    assert set(stored) == {"class", "id", "properties", "vector"}
    assert set(stored["properties"]) == set(made)


async def test_the_key_is_a_bearer(server: tuple[str, Engines]) -> None:
    url, engines = server
    async with opened(url, KEY):
        assert set(engines.authorizations) == {f"Bearer {KEY}"}
    engines.authorizations.clear()
    async with opened(f"{url}/"):
        assert set(engines.authorizations) == {None}


async def test_settings_name_it(server: tuple[str, Engines]) -> None:
    url, engines = server
    made = server_of(RetrieverSettings(weaviate_url=url, weaviate_api_key=KEY))
    assert made is not None and KEY not in repr(made)
    index = await made.index(IDENTITY, DIMENSIONS, [("staff",)])
    assert await made.indexes() == {index.name}
    await made.close()
    assert set(engines.authorizations) == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, UserError, "INTERLOCK_WEAVIATE_API_KEY"),
        (403, UserError, "INTERLOCK_WEAVIATE_API_KEY"),
        (404, UserError, "INTERLOCK_WEAVIATE_URL"),
        (422, UserError, "GraphQL API switched on"),
        (429, RetryLater, "answers 429"),
        (503, RetryLater, "answers 503"),
    ],
)
async def test_a_refusal_says_what_to_do(
    server: tuple[str, Engines], status: int, kind: type[Exception], says: str
) -> None:
    url, engines = server
    async with opened(url, KEY) as index:
        engines.weaviate.status = status
        with pytest.raises(kind, match=says) as caught:
            await index.upsert([entry("a")])
    assert KEY not in str(caught.value)


async def test_a_server_that_is_gone_or_says_no_is_asked_later() -> None:
    with serving() as (url, _):
        async with connected(url) as there:
            index = await there.index(IDENTITY, DIMENSIONS, ())
            await index.upsert([entry("a")])
            other = replace(entry("b"), dense=entry("b").dense[:4])
            with pytest.raises(RetryLater, match="did not take all"):
                await index.upsert([other])
            await there.drop(index.name)
            with pytest.raises(RetryLater, match="Cannot query field"):
                await index.fetch(["acme/help/a#1"], tenant="acme", scopes=(), sources=SOURCES)
    async with connected(url) as there:
        with pytest.raises(RetryLater, match="does not answer"):
            await there.index(IDENTITY, DIMENSIONS, ())


async def test_two_may_make_it_at_once(server: tuple[str, Engines]) -> None:
    url, engines = server
    async with connected(url) as there:
        four = (there.index(IDENTITY, DIMENSIONS, ()) for _ in range(4))
        made = await asyncio.gather(*four)
    assert list(engines.weaviate.collections) == [made[0].name]


async def test_no_word_of_a_reader_leaves_its_string(server: tuple[str, Engines]) -> None:
    """Quotes, backslashes and braces are text, in a tenant and in the id of a passage."""
    strange = 'acme"}]}) {body} \\" é \n'.strip()
    async with opened(server[0]) as index:
        await index.upsert([entry("a", tenant=strange), entry("b")])
        names = [f"{strange}/help/a#1", "acme/help/b#1"]
        found = await index.fetch(names, tenant=strange, scopes=(), sources=SOURCES)
        assert list(found) == names[:1]
        await index.remove([(strange, names[0])])
        assert not await index.fetch(names, tenant=strange, scopes=(), sources=SOURCES)


async def test_the_best_are_ours_not_those_of_its_bm25(server: tuple[str, Engines]) -> None:
    """Its BM25 counts the passages of others and would put `parcel` first."""
    mine = [entry("a", "refund refund refund"), entry("b", "parcel parcel invoice battery")]
    theirs = [entry(f"n{number}", "refund", tenant="globex") for number in range(50)]
    async with opened(server[0]) as index:
        await index.upsert([*mine, *theirs])
        words, near = await index.search(
            query("refund parcel"), tenant="acme", scopes=(), sources=SOURCES, limit=1
        )
    assert (words.step, near.step) == (KEYWORD, DENSE)
    assert ids(words) == ["acme/help/a#1"]


WRONG: list[Callable[[str], str]] = [
    lambda name: f"{{ Get {{ {name}(limit: 1) {{ nothing }} }} }}",
    lambda name: f"{{ Get {{ {name}(limit: 10001) {{ body }} }} }}",
    lambda name: f"{{ Get {{ {name}(limit: 1, tenantt: 2) {{ body }} }} }}",
    lambda name: (
        f'{{ Get {{ {name}(limit: 1, where: {{path: ["tenant"], operator: In, '
        f'valueText: ["a"]}}) {{ body }} }} }}'
    ),
    lambda name: (
        f'{{ Get {{ {name}(limit: 1, where: {{path: ["tenant"], operator: "Equal", '
        f'valueText: "a"}}) {{ body }} }} }}'
    ),
    lambda name: (
        f'{{ Get {{ {name}(limit: 1, where: {{path: ["body"], operator: Equal, '
        f'valueText: "a"}}) {{ body }} }} }}'
    ),
    lambda name: (
        f'{{ Get {{ {name}(limit: 1, where: {{path: ["valid_from"], operator: '
        f"GreaterThan, valueInt: 1}}) {{ body }} }} }}"
    ),
    lambda name: f"{{ Get {{ {name}(limit: 1) {{ body }} }}",
]


@pytest.mark.parametrize("wrong", WRONG)
async def test_the_stand_in_refuses_what_is_not_documented(
    server: tuple[str, Engines], wrong: Callable[[str], str]
) -> None:
    async with connected(server[0]) as there:
        index = await there.index(IDENTITY, DIMENSIONS, ())
        await index.upsert([entry("a")])
        answer = (await there.call("POST", "graphql", {"query": wrong(index.name)})).json()
    assert answer["data"] is None and answer["errors"]
