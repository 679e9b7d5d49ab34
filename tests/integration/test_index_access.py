"""Who may read what, on every engine behind the port `Index`; nothing leaks, not even an order."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.indexes import (
    SCOPES,
    SOURCES,
    TENANTS,
    WARNINGS,
    Opened,
    ask,
    engines,
    entry,
    ids,
    query,
)

from interlock.retriever.engines.index import DENSE, KEYWORD, Entry
from interlock_contracts.retrieval import Ranking

pytestmark = WARNINGS

WORDS = ("refund", "parcel", "warranty", "A-1001", "battery", "invoice")


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
    assert [leg.hits for leg in legs.values()] == [(), ()] and found == {}


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
) -> tuple[dict[str, Ranking], set[str]]:  # fmt: skip
    """What an index of `corpus` says to this reader, asked in every way there is."""
    async with opened() as index:
        await index.upsert(corpus)
        legs = await ask(index, text, tenant=tenant, scopes=scopes, sources=sources)
        names = [one.passage.chunk_id for one in corpus]
        fetched = await index.fetch(names, tenant=tenant, scopes=scopes, sources=sources)
    return legs, set(fetched)


@engines
@settings(max_examples=20, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
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
    readable = [
        one
        for one in corpus
        if one.passage.tenant == tenant
        and one.passage.source in sources
        and scopes.issuperset(one.passage.scopes)
    ]
    names = {one.passage.chunk_id for one in readable}
    matching = {one.passage.chunk_id for one in readable if word in one.passage.text.split()}

    legs, fetched = asyncio.run(everything(opened, corpus, word, tenant, scopes, sources))

    assert set(ids(legs[DENSE])) == names
    assert set(ids(legs[KEYWORD])) == matching
    assert fetched == names
    alone, _ = asyncio.run(everything(opened, readable, word, tenant, scopes, sources))
    assert legs == alone
