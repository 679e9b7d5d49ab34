"""From a folder of documents to answers: `build_index`, on both engines."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from interlock.bundles.knowledge import KnowledgeSource, RetrievalSpec
from interlock.bundles.model import Bundle
from interlock.retriever.engines.qdrant import QdrantServer
from interlock.retriever.search import SearchRequest
from interlock.retriever.searcher import Searcher
from interlock.retriever.service import build_index
from interlock.runtime.embedding import Vectors
from interlock_contracts.retrieval import RetrievalOutcome

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


class Words:
    """An embedder of hashed words: similar texts share words, texts without any share none."""

    name = "hashed-words"
    dimensions = 64

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                place = hashlib.blake2b(word.strip("?.").encode(), digest_size=1).digest()[0]
                vectors[row, place % self.dimensions] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, 1)  # type: ignore[no-any-return]  # numpy's division


BUNDLE = Bundle(
    name="test",
    version="1",
    sources={
        "help": KnowledgeSource(path="docs/{tenant}/help"),
        "runbooks": KnowledgeSource(path="docs/{tenant}/runbooks", scopes=("staff",)),
    },
)
DOCUMENTS = {
    "acme/help/returns.md": "---\ntitle: Returns\n---\nYou have thirty days for a return.",
    "acme/help/shipping.md": "---\ntitle: Shipping\n---\nParcels to Canada need six days.",
    "acme/runbooks/refunds.md": "---\ntitle: Approval\n---\nA lead approves refunds above 100.",
    "globex/help/returns.md": "---\ntitle: Returns\n---\nYou have ten days for a return.",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in DOCUMENTS.items():
        file = tmp_path / "root" / "docs" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "root"


@pytest.fixture(params=["embedded", "qdrant"])
async def searcher(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Searcher:
    server = QdrantServer(AsyncQdrantClient(":memory:")) if request.param == "qdrant" else None
    return await build_index(BUNDLE, root, tmp_path / "index", embedder=Words(), server=server)


def about(
    query: str,
    *,
    tenant: str = "acme",
    scopes: tuple[str, ...] = (),
    sources: tuple[str, ...] = ("help", "runbooks"),
    spec: RetrievalSpec | None = None,
) -> SearchRequest:
    return SearchRequest(
        query=query, tenant=tenant, scopes=scopes, sources=sources, spec=spec or RetrievalSpec()
    )


async def test_found(searcher: Searcher) -> None:
    result = await searcher.search(about("How many days for a return?"))
    assert result.outcome is RetrievalOutcome.FOUND
    best = result.chunks[0]
    assert (best.handle, best.document_id, best.title) == ("c1", "acme/help/returns", "Returns")
    assert best.text == "You have thirty days for a return."
    assert [ranking.step for ranking in result.rankings] == [
        *("keyword", "dense", "fused"),
        *("keyword-feedback", "dense-feedback", "fused-feedback", "siblings", "title"),
    ]
    assert {chunk.tenant for chunk in result.chunks} == {"acme"}
    assert result.index == searcher.identity


@pytest.mark.parametrize(
    ("request_", "outcome"),
    [
        (about("refunds", tenant="initech"), RetrievalOutcome.NOTHING_INDEXED),
        (about("refunds", sources=("other",)), RetrievalOutcome.NOTHING_INDEXED),
        (about("refunds", sources=("runbooks",)), RetrievalOutcome.FILTERED_OUT),
        (about("?"), RetrievalOutcome.NOT_RETRIEVED),
        (about("days", spec=RetrievalSpec(min_score=2.0)), RetrievalOutcome.RANKED_OUT),
        (about("refunds", sources=("runbooks",), scopes=("staff",)), RetrievalOutcome.FOUND),
    ],
)
async def test_outcomes_are_told_apart(
    searcher: Searcher, request_: SearchRequest, outcome: RetrievalOutcome
) -> None:
    result = await searcher.search(request_)
    assert result.outcome is outcome
    assert bool(result.chunks) == (outcome is RetrievalOutcome.FOUND)


@pytest.mark.parametrize("times", [1, 9])
async def test_rerun_reopen_and_rebuild_give_exactly_the_same(
    root: Path, tmp_path: Path, times: int
) -> None:
    """Of a short query, which takes up feedback, and of a long one, which has aspects."""
    asked = about("How many days for a return to Canada? " * times, scopes=("staff",))
    results = []
    for folder in ("one", "one", "two"):
        searcher = await build_index(BUNDLE, root, tmp_path / folder, embedder=Words())
        results += [await searcher.search(asked), await searcher.search(asked)]
    assert all(result == results[0] for result in results)


async def test_identity_follows_the_content(root: Path, tmp_path: Path) -> None:
    storage = tmp_path / "index"
    before = await build_index(BUNDLE, root, storage, embedder=Words())
    (root / "docs/acme/help/returns.md").write_text("You have forty days for a return.")
    after = await build_index(BUNDLE, root, storage, embedder=Words())
    assert before.identity != after.identity
    found = await after.search(about("days for a return"))
    assert found.chunks[0].text == "You have forty days for a return."
    found = await before.search(about("days for a return"))
    assert found.chunks[0].text == "You have thirty days for a return."


async def test_identity_follows_the_embedder(root: Path, tmp_path: Path) -> None:
    class Others(Words):
        name = "other-words"

    one = await build_index(BUNDLE, root, tmp_path, embedder=Words())
    other = await build_index(BUNDLE, root, tmp_path, embedder=Others())
    assert one.identity != other.identity


async def test_a_half_built_index_is_never_opened(root: Path, tmp_path: Path) -> None:
    """What a crash while building leaves behind is not under the index's name."""

    class Crash(Exception):
        pass

    class Fails(Words):
        def embed(self, texts: Sequence[str]) -> Vectors:
            raise Crash

    storage = tmp_path / "index"
    with pytest.raises(Crash):
        await build_index(BUNDLE, root, storage, embedder=Fails())
    searcher = await build_index(BUNDLE, root, storage, embedder=Words())
    assert (await searcher.search(about("return"))).outcome is RetrievalOutcome.FOUND


async def test_the_embedded_default_needs_no_network(root: Path, tmp_path: Path) -> None:
    searcher = await build_index(BUNDLE, root, tmp_path / "index")
    result = await searcher.search(about("sending something back"))
    assert result.chunks[0].document_id == "acme/help/returns"
    assert (await searcher.search(about(""))).outcome is RetrievalOutcome.NOT_RETRIEVED


STORY = " ".join(
    f"I ordered item {number} for my sister in Canada and want a return." for number in range(9)
)


async def test_a_long_query_is_searched_by_its_aspects_too(searcher: Searcher) -> None:
    result = await searcher.search(about(STORY))
    steps = [ranking.step for ranking in result.rankings]
    assert steps[:4] == ["keyword", "dense", "keyword-1", "dense-1"]
    assert steps[-5:] == [
        *("keyword-aspects", "dense-aspects", "fused"),
        *("siblings", "title"),
    ]
    assert " ".join(result.queries) == STORY
    assert result.outcome is RetrievalOutcome.FOUND


async def test_the_expanded_query_is_on_record(searcher: Searcher) -> None:
    (expanded,) = (await searcher.search(about("days for a return"))).queries
    assert "return^" in expanded and "thirti^" in expanded


@pytest.mark.parametrize("query", ["days for a return", STORY])
async def test_steps_can_be_left_out(searcher: Searcher, query: str) -> None:
    bare = RetrievalSpec(aspects=0, feedback_documents=0, sibling_weight=0.0, title_weight=0.0)
    result = await searcher.search(about(query, spec=bare))
    assert [ranking.step for ranking in result.rankings] == ["keyword", "dense", "fused"]
    assert result.queries == ()


async def test_what_may_not_be_read_changes_nothing_at_any_step(root: Path, tmp_path: Path) -> None:
    """Other tenants' documents, and those of scopes not held, might as well not be there."""
    # Far longer than the others: it moves every mean that it has a part in.
    (root / "docs/acme/runbooks/refunds.md").write_text("A lead approves a return. " * 30)
    with_all = await build_index(BUNDLE, root, tmp_path / "all", embedder=Words())
    (root / "docs/acme/runbooks/refunds.md").unlink()
    (root / "docs/globex/help/returns.md").unlink()
    without = await build_index(BUNDLE, root, tmp_path / "some", embedder=Words())
    for query in ("How many days for a return?", "refunds above", STORY):
        one, other = await with_all.search(about(query)), await without.search(about(query))
        assert (one.queries, one.rankings) == (other.queries, other.rankings)
        assert [chunk.score for chunk in one.chunks] == [chunk.score for chunk in other.chunks]


async def test_a_server_is_filled_and_its_words_counted_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = QdrantServer(AsyncQdrantClient(":memory:"))
    first = await build_index(BUNDLE, root, tmp_path, embedder=Words(), server=server)

    def never(*_: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr("interlock.retriever.generations.making.entries", never)
    monkeypatch.setattr("interlock.retriever.generations.making.terms", never)
    second = await build_index(BUNDLE, root, tmp_path, embedder=Words(), server=server)
    asked = about("How many days for a return?")
    assert await first.search(asked) == await second.search(asked)
