"""One suite for every engine behind the port `Index`: what is found, and in what order."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.test_index_access import WORDS, corpora, everything
from tests.support.indexes import (
    DIMENSIONS,
    ENGINES,
    SCOPES,
    SOURCES,
    WARNINGS,
    Opened,
    ask,
    engines,
    entry,
    ids,
    vector,
)

from interlock.retriever.engines.index import DENSE, KEYWORD, Entry, Query

pytestmark = WARNINGS


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


@engines
async def test_writers_of_the_same_passages_do_not_disturb_each_other(opened: Opened) -> None:
    corpus = [entry(f"n{number}", f"refund {number}") for number in range(20)]
    async with opened() as index:
        await asyncio.gather(*(index.upsert(corpus) for _ in range(4)))
        legs = await ask(index, "refund")
    assert [len(leg.hits) for leg in legs.values()] == [20, 20]


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
@settings(max_examples=10, derandomize=True)
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
