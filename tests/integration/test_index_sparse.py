"""The sparse leg from passages to the record: embedded, and on every kind of index server."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_index_build import Words
from tests.integration.test_index_served import passages
from tests.support.indexes import WARNINGS, MakeServer, servers
from tests.support.sparse import Furniture

from interlock.bundles.knowledge import RetrievalSpec
from interlock.retriever.corpus import Corpus
from interlock.retriever.documents import Passage
from interlock.retriever.engines.index import DENSE, KEYWORD
from interlock.retriever.generations.building import generation
from interlock.retriever.generations.content import Content
from interlock.retriever.generations.folder import Generations
from interlock.retriever.ranking.fusion import fuse
from interlock.retriever.ranking.sparse import SPARSE, WithSparse
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.retriever.searcher import Searcher
from interlock_contracts.retrieval import Ranking

pytestmark = WARNINGS

STEPS = [KEYWORD, DENSE, SPARSE, "fused", f"{KEYWORD}-feedback", f"{DENSE}-feedback"]


def content() -> Content:
    return Content.of(corpus())


def corpus() -> list[Passage]:
    """Of staff; one of everybody; and the one that is looked for, of another tenant, too."""
    texts = ("A sofa of oak.", "A table of oak.", "A couch for two.")
    made = [
        replace(one, chunk_id=f"acme/help/{number}#1", document_id=f"acme/help/{number}")
        for number, text in enumerate(texts)
        for one in passages(text)
    ]
    theirs = replace(made[0], chunk_id="globex/help/0#1", tenant="globex")
    return [*made, theirs]


async def search(
    searcher: Searcher, query: str = "couch", *, held: bool = True, **spec: float
) -> SearchResult:
    return await searcher.search(
        SearchRequest(
            query=query,
            tenant="acme",
            scopes=("staff",) if held else (),
            sources=("help",),
            spec=RetrievalSpec(**spec),  # type: ignore[arg-type]  # numbers
        )
    )


def embedder() -> WithSparse:
    return WithSparse(Words(), Furniture())


def steps(result: SearchResult) -> dict[str, Ranking]:
    return {ranking.step: ranking for ranking in result.rankings}


@servers
async def test_every_server_has_the_list_that_the_embedded_index_has(
    make: MakeServer, tmp_path: Path
) -> None:
    own = await search(await generation(Generations(tmp_path / "own", embedder()), content()))
    async with make() as server:
        generations = Generations(tmp_path, embedder(), server=server)
        found = await search(await generation(generations, content()))
        nothing = await search(await generation(generations, content()), held=False)
    assert [one.step for one in found.rankings][:6] == STEPS
    mine, theirs = steps(own)[SPARSE], steps(found)[SPARSE]
    assert [hit.chunk_id for hit in mine.hits] == ["acme/help/2#1", "acme/help/0#1"]
    assert [hit.chunk_id for hit in theirs.hits] == [hit.chunk_id for hit in mine.hits]
    # Of Lucene's engines right to 0.4 %.
    assert [hit.score for hit in theirs.hits] == pytest.approx([1.64, 1.6], rel=4e-3)
    assert found.index == own.index and nothing.chunks == ()


async def test_what_the_words_do_not_say_is_found(tmp_path: Path) -> None:
    searcher = await generation(Generations(tmp_path, embedder()), content())
    found = steps(await search(searcher, aspects=0))
    assert "acme/help/0#1" not in {hit.chunk_id for hit in found[KEYWORD].hits}
    assert "acme/help/0#1" in {hit.chunk_id for hit in found["fused"].hits}


async def test_it_counts_in_the_second_search_too(tmp_path: Path) -> None:
    """The fused lists are what their legs on record come to."""
    searcher = await generation(Generations(tmp_path, embedder()), content())
    found = steps(await search(searcher, aspects=0, dense_weight=0.4, sparse_weight=0.9))
    shares = {KEYWORD: 0.06, DENSE: 0.4, SPARSE: 0.54}
    for ending in ("", "-feedback"):
        legs = [Ranking(step=name, hits=found[f"{name}{ending}"].hits) for name in (KEYWORD, DENSE)]
        fused = fuse([*legs, found[SPARSE]], shares, 50)
        scores = {hit.chunk_id: hit.score for hit in found[f"fused{ending}"].hits}
        assert scores == pytest.approx({hit.chunk_id: hit.score for hit in fused.hits}, abs=2e-6)


async def test_its_share_is_the_bundles(tmp_path: Path) -> None:
    searcher = await generation(Generations(tmp_path, embedder()), content())
    bare: dict[str, Any] = {
        "feedback_documents": 0,
        "sibling_weight": 0.0,
        "title_weight": 0.0,
        "dense_weight": 0,
    }
    for weight in (0.0, 0.25, 1.0):
        found = steps(await search(searcher, "oak table", **bare, sparse_weight=weight))
        assert (SPARSE in found) == bool(weight)
        scores = {hit.chunk_id: hit.score for hit in found["fused"].hits}
        assert scores["acme/help/1#1"] == pytest.approx(1.0)
        # The other has one of the query's two words, and nothing that the model knows.
        ranks = {hit.chunk_id: hit.score for hit in found[KEYWORD].hits}
        share = ranks["acme/help/0#1"] / ranks["acme/help/1#1"]
        assert scores["acme/help/0#1"] == pytest.approx((1 - weight) * share, abs=1e-5)


async def test_a_long_query_has_it_beside_its_aspects(tmp_path: Path) -> None:
    searcher = await generation(Generations(tmp_path, embedder()), content())
    long = " ".join(f"I was told of a couch number {number} by my aunt." for number in range(9))
    found = steps(await search(searcher, long))
    assert {"keyword-aspects", "dense-aspects", SPARSE, "fused"} <= set(found)
    assert "sparse-aspects" not in found


async def test_the_model_is_part_of_the_identity_and_sees_no_text_twice(tmp_path: Path) -> None:
    kept = Corpus(tmp_path)
    plain = await generation(Generations(tmp_path, Words(), kept), content())
    beside = embedder()
    model = beside.sparse
    assert isinstance(model, Furniture)
    generations = Generations(tmp_path, beside, kept)
    first = await generation(generations, content())
    assert first.identity != plain.identity
    seen = len(model.seen)
    more = [*corpus(), *passages("A leather sofa.")]
    assert (await generation(generations, Content.of(more))).identity != first.identity
    assert model.seen[seen:] == ["Returns\nA leather sofa."]
    await generation(replace(generations, corpus=None), Content.of(more), anew=True)
    assert len(model.seen) == seen + 1 + len(more)


async def test_an_index_without_the_model_is_as_it_was(tmp_path: Path) -> None:
    """Words are counted as before, and no list is asked for."""
    plain = await generation(Generations(tmp_path / "plain", Words()), content())
    beside = await generation(Generations(tmp_path / "beside", embedder()), content())
    one, other = await search(plain), await search(beside, sparse_weight=0.0)
    assert one.rankings == other.rankings and one.queries == other.queries
