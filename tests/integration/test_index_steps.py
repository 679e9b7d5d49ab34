"""The steps that an installation or a bundle adds to a search."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlock.bundles.knowledge import RetrievalSpec
from interlock.retriever.documents import Passage
from interlock.retriever.ranking.rerank import by_judgement, diverse
from interlock.retriever.search import SearchRequest
from interlock.retriever.searcher import Searcher
from interlock.retriever.service import embedded_searcher
from interlock.runtime.errors import RetryLater
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import Hit, Ranking

TEXTS = {
    "returns": "You have thirty days for a return of a spade.",
    "again": "You have thirty days for a return of a spade!",
    "hours": "The shop is open from nine to five for any return.",
    "canada": "A return from Canada takes longer.",
}


def passages() -> list[Passage]:
    return [
        Passage(
            chunk_id=f"acme/help/{name}#1", document_id=f"acme/help/{name}",
            version=digest_bytes(name.encode()), digest=digest_bytes(text.encode()),
            tenant="acme", source="help", trust="trusted", scopes=(), title="", url=None,
            heading="", text=text,
        )
        for name, text in TEXTS.items()
    ]  # fmt: skip


def about(query: str, *turns: str, **spec: float) -> SearchRequest:
    return SearchRequest(
        query=query, tenant="acme", scopes=(), sources=("help",), turns=turns,
        spec=RetrievalSpec(**spec),  # type: ignore[arg-type]  # the fields a test names
    )  # fmt: skip


def ranked(**scores: float) -> Ranking:
    hits = tuple(Hit(chunk_id=name, score=score) for name, score in scores.items())
    return Ranking(step="title", hits=hits)


def names(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk_id.split("/")[-1].removesuffix("#1") for hit in hits]


@pytest.fixture
async def searcher(tmp_path: Path) -> Searcher:
    return await embedded_searcher(passages(), tmp_path)


class Longest:
    """A reranker that likes long texts, and remembers what it was asked."""

    name = "longest"

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    async def scores(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        self.asked.append((query, list(texts)))
        return [len(text) / 10 for text in texts]


async def test_a_reranker_decides_about_the_first(searcher: Searcher) -> None:
    before = await searcher.search(about("thirty days for a return"))
    reranker = Longest()
    searcher._reranker = reranker
    after = await searcher.search(about("thirty days for a return", rerank=3))
    assert [one.step for one in after.rankings][-2:] == ["title", "reranked"]
    asked, texts = reranker.asked[0]
    assert asked == "thirty days for a return" and len(texts) == 3
    assert after.rankings[-2] == before.rankings[-1]
    first = after.rankings[-1].hits[:3]
    assert set(names(first)) == set(names(before.rankings[-1].hits[:3]))
    assert names(first)[0] == max(names(first), key=lambda name: len(TEXTS[name]))
    assert [chunk.chunk_id for chunk in after.chunks] == [
        hit.chunk_id for hit in after.rankings[-1].hits
    ]


def test_what_was_not_judged_comes_after_in_its_own_order() -> None:
    before = ranked(a=1.0, b=0.9, c=0.5, d=0.2)
    after = by_judgement(before, {"a": -4.0, "b": 2.0})
    assert [hit.chunk_id for hit in after.hits] == ["b", "a", "c", "d"]


async def test_diversity_puts_the_same_again_further_down(searcher: Searcher) -> None:
    query = "thirty days for a return, and how long it takes"
    plain = await searcher.search(about(query, limit=2, dense_weight=1.0))
    varied = await searcher.search(about(query, limit=2, dense_weight=1.0, diversity=0.8))
    twins = {"acme/help/returns", "acme/help/again"}
    assert {one.document_id for one in plain.chunks} == twins
    assert len(twins.intersection(one.document_id for one in varied.chunks)) == 1
    assert varied.rankings[-1].step == "diverse"
    scores = [hit.score for hit in varied.rankings[-1].hits]
    assert scores == sorted(scores, reverse=True)


def test_without_vectors_diversity_changes_nothing() -> None:
    before = Ranking(
        step="title", hits=(Hit(chunk_id="b", score=0.9), Hit(chunk_id="a", score=0.5))
    )
    after = diverse(before, {}, 0.5, 1)
    assert [hit.chunk_id for hit in after.hits] == ["b", "a"]
    near = {name: np.array([1, 0], np.float32) for name in "ab"}
    assert [hit.score for hit in diverse(before, near, 0.5, 2).hits] == [0.9, 0.0]


class Turned:
    """A rewriter that puts the last turn in place of a pronoun."""

    async def rewrite(self, query: str, turns: Sequence[str]) -> str:
        return query.replace("it", turns[-1]) if turns else query


async def test_a_rewritten_query_is_searched_and_on_record(searcher: Searcher) -> None:
    searcher._rewriter = Turned()
    found = await searcher.search(about("how long does it take", "a return from Canada"))
    assert found.queries[0] == "how long does a return from Canada take"
    assert found.chunks[0].document_id == "acme/help/canada"
    untouched = await searcher.search(about("how long does it take"))
    assert "how long does it take" not in untouched.queries


class Silent:
    """A rewriter that writes what it was made with, or fails with it."""

    def __init__(self, written: Any) -> None:
        self.written = written

    async def rewrite(self, query: str, turns: Sequence[str]) -> str:
        if isinstance(self.written, Exception):
            raise self.written
        return self.written  # type: ignore[no-any-return]  # that is what is tried


@pytest.mark.parametrize(
    ("written", "said"),
    [(None, "gave no query"), (" ", "gave no query"), (KeyError("x"), "failed: KeyError")],
)
async def test_a_rewriter_that_fails_is_asked_again_later(
    searcher: Searcher, written: Any, said: str
) -> None:
    searcher._rewriter = Silent(written)
    with pytest.raises(RetryLater, match=f"the rewriter {said}"):
        await searcher.search(about("how long does it take"))


async def test_every_step_says_how_long_it_took(searcher: Searcher) -> None:
    found = await searcher.search(about("days for a return", diversity=0.5))
    assert set(found.timings) == {"embed", "search", "feedback", "diverse", "fetch"}
    assert all(0 <= took < 60_000 for took in found.timings.values())
