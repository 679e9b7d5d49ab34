"""Retrievers of LangChain and of LlamaIndex as knowledge sources."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from interlock.bundles.knowledge import KnowledgeSource, RetrievalSpec
from interlock.retriever.documents import Passage
from interlock.retriever.explain import explain
from interlock.retriever.external import (
    External,
    Found,
    WithExternal,
    langchain,
    llama_index,
    narrowed,
)
from interlock.retriever.parts import external_of
from interlock.retriever.search import SearchRequest, SearchResult
from interlock.retriever.service import embedded_searcher
from interlock.retriever.settings import RetrieverSettings
from interlock.runtime.errors import RetryLater
from interlock_contracts.canonical import digest_bytes
from interlock_contracts.retrieval import RetrievalOutcome, Trust

ROWS: tuple[tuple[str, str, str | None, list[str], float], ...] = (
    ("w1", "The warranty of a spade is two years.", "acme", [], 0.9),
    ("w2", "Staff may extend a warranty by a year.", "acme", ["staff"], 0.7),
    ("w3", "Globex gives a warranty of ten years.", "globex", [], 0.8),
    ("w4", "Nobody knows whose warranty this is.", None, [], 0.6),
)


Made = Callable[[list[tuple[str, tuple[str, ...]]]], External]


def plain(asked: list[tuple[str, tuple[str, ...]]]) -> External:
    async def retrieve(query: str, *who: Any) -> list[Found]:
        asked.append(who)
        return [
            Found(text, {"tenant": tenant, "scopes": scopes}, name, score)
            for name, text, tenant, scopes, score in ROWS
        ]

    return External("plain-1", retrieve)


def chained(asked: list[tuple[str, tuple[str, ...]]]) -> External:
    def make(*who: Any) -> Any:
        asked.append(who)
        return import_module("tests.support.retrievers").Chain(rows=ROWS)

    return langchain("chain-1", make)


def llamas(asked: list[tuple[str, tuple[str, ...]]]) -> External:
    def make(*who: Any) -> Any:
        asked.append(who)
        return import_module("tests.support.retrievers").Llama(ROWS)

    return llama_index("llama-1", make)


MADE: list[Made] = [plain]
if find_spec("langchain_core") and find_spec("llama_index"):
    # Both are extras, which not everybody installs.
    MADE += [chained, llamas]
both = pytest.mark.parametrize("made", MADE)


async def search(
    folder: Path, source: External, *, scopes: tuple[str, ...] = (), **spec: Any
) -> SearchResult:
    text = "A spade comes with a warranty card."
    own = Passage(
        chunk_id="acme/help/card#1", document_id="acme/help/card",
        version=digest_bytes(b"v"), digest=digest_bytes(text.encode()), tenant="acme",
        source="help", trust="trusted", scopes=(), title="Card", url=None, heading="", text=text,
    )  # fmt: skip
    inner = await embedded_searcher([own], folder)
    request = SearchRequest(
        query="warranty of a spade", tenant="acme", scopes=scopes, sources=("help", "outside"),
        spec=RetrievalSpec(**spec),
    )  # fmt: skip
    return await WithExternal(inner, {"outside": source}).search(request)


def texts(result: SearchResult) -> Sequence[str]:
    return [chunk.document_id for chunk in result.chunks]


@both
async def test_found_beside_our_own_and_on_record(tmp_path: Path, made: Made) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []
    found = await search(tmp_path, made(asked), scopes=("staff", "vip"))
    assert asked == [("acme", ("staff", "vip"))]
    assert found.outcome is RetrievalOutcome.FOUND
    assert set(texts(found)) == {"acme/help/card", "acme/outside/w1", "acme/outside/w2"}
    assert [chunk.handle for chunk in found.chunks] == ["c1", "c2", "c3"]
    assert {chunk.source: chunk.trust.value for chunk in found.chunks} == {
        "help": "trusted",
        "outside": "untrusted",
    }
    steps = [ranking.step for ranking in found.rankings]
    assert steps[0] == "keyword" and steps[-2:] == ["external-outside", "sources"]


@both
async def test_what_is_not_the_readers_is_dropped_and_not_named(tmp_path: Path, made: Made) -> None:
    found = await search(tmp_path, made([]))
    assert set(texts(found)) == {"acme/help/card", "acme/outside/w1"}
    reasons = sorted(one.reason for one in found.dropped)
    assert reasons == ["scope_missing", "tenant_boundary", "tenant_boundary"]
    assert all(one.chunk_id.startswith("withheld-") for one in found.dropped)
    logged = repr(found)
    assert not any(name in logged for name in ("w2", "w3", "w4", "ten years", "Staff may"))


async def test_the_source_itself_may_need_scopes(tmp_path: Path) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []
    source = External("chain-1", plain(asked).retrieve, scopes=("partner",))
    assert texts(await search(tmp_path, source)) == ["acme/help/card"]
    assert asked == []
    allowed = await search(tmp_path, source, scopes=("partner",))
    assert "acme/outside/w1" in texts(allowed)
    assert {one.scopes for one in allowed.chunks if one.source == "outside"} == {("partner",)}


async def test_labels_say_whose_it_is(tmp_path: Path) -> None:
    source = External(
        "chain-1",
        plain([]).retrieve,
        labels=lambda found: {"tenant": "acme", "title": "Partner's page", "document_id": "p"},
    )
    found = await search(tmp_path, source, limit=10, per_document=2)
    outside = [chunk for chunk in found.chunks if chunk.source == "outside"]
    assert [(one.document_id, one.title) for one in outside] == [
        ("acme/outside/p", "Partner's page")
    ] * 2
    assert [one.reason for one in found.dropped] == ["per_document"] * 2


async def test_the_limit_is_of_all_sources_together(tmp_path: Path) -> None:
    found = await search(tmp_path, plain([]), limit=1, scopes=("staff",))
    assert len(found.chunks) == 1
    assert "limit" in {one.reason for one in found.dropped}


async def test_what_fails_elsewhere_is_tried_again_later(tmp_path: Path) -> None:
    async def fails(*_: object) -> list[Any]:
        raise ValueError("a secret of the other side")

    with pytest.raises(RetryLater, match="'outside' failed: ValueError") as caught:
        await search(tmp_path, External("broken", fails))
    assert "secret" not in str(caught.value)


async def test_a_source_is_read_and_trusted_as_the_bundle_says(tmp_path: Path) -> None:
    """And as its own `scopes` and `trust` say: whichever is less."""
    asked: list[tuple[str, tuple[str, ...]]] = []
    mine = replace(plain(asked), scopes=("partner",), trust=Trust.TRUSTED)
    for trust, own, least in (
        (Trust.TRUSTED, Trust.TRUSTED, "trusted"),
        (Trust.UNTRUSTED, Trust.TRUSTED, "untrusted"),
        (Trust.TRUSTED, Trust.UNTRUSTED, "untrusted"),
    ):
        sources = {"outside": KnowledgeSource(scopes=("staff",), trust=trust)}
        known = {"outside": replace(mine, trust=own), "elsewhere": mine}
        (source,) = narrowed(known, sources).values()
        for held in ((), ("staff",), ("partner",)):
            assert texts(await search(tmp_path, source, scopes=held)) == ["acme/help/card"]
        found = await search(tmp_path, source, scopes=("partner", "staff"))
        outside = [chunk for chunk in found.chunks if chunk.source == "outside"]
        assert {chunk.trust.value for chunk in outside} == {least}
        assert all({"partner", "staff"} <= set(chunk.scopes) for chunk in outside)
    assert {scopes for _, scopes in asked} == {("partner", "staff")}


async def test_a_weight_takes_a_source_down_and_is_part_of_the_identity(tmp_path: Path) -> None:
    full = await search(tmp_path, plain([]))
    less = await search(tmp_path, replace(plain([]), weight=0.25))
    scores = [
        {chunk.source: chunk.score for chunk in one.chunks}["outside"] for one in (full, less)
    ]
    assert scores == [1.0, 0.25] and full.index != less.index


async def test_explained_is_what_an_external_source_found(tmp_path: Path) -> None:
    made = WithExternal(await embedded_searcher([], tmp_path), {"outside": plain([])})
    for limit, outcome, says in (
        (2, RetrievalOutcome.FOUND, "in the context"),
        (1, RetrievalOutcome.RANKED_OUT, "sources rank 2, dropped by limit"),
    ):
        asked = SearchRequest(
            query="warranty", tenant="acme", scopes=("staff",), sources=("outside",),
            spec=RetrievalSpec(limit=limit),
        )  # fmt: skip
        told = await explain(made, asked, "acme/outside/w2", [])
        assert (told.outcome, told.reason) == (outcome, says)
        steps = [place.step for passage in told.passages for place in passage.places]
        assert steps == ["external-outside", "sources"]
        # Whose it is, is not the reader's to know.
        theirs = await explain(made, asked, "globex/outside/w3", [])
        assert theirs.outcome is RetrievalOutcome.NOTHING_INDEXED and theirs.passages == ()


ACME: dict[str, Any] = {"tenant": "acme"}


@pytest.mark.parametrize(
    ("odd", "text"),
    [
        (Found("form\x0cfeed", {**ACME, "title": "a\x00b\nc", "url": "x\ny"}), "form feed"),
        (Found("half \ud800 a pair", ACME), "half   a pair"),
        (Found("scored", ACME, score="high"), "scored"),  # type: ignore[arg-type]
        (Found("w" * 3_000_000, ACME), "w" * 16_000),
        (Found("named", ACME, id="a\x00b" * 99), "named"),
        (Found("no scopes", {**ACME, "scopes": None}), None),
        (Found("no labels", None), None),  # type: ignore[arg-type]
        (Found(None, ACME), None),  # type: ignore[arg-type]
        (Found("no tenant", {"tenant": "a b"}), None),
    ],
)
async def test_an_odd_result_is_a_passage_or_dropped_and_never_keeps_others_from_being_found(
    tmp_path: Path, odd: Found, text: str | None
) -> None:
    async def retrieve(*_: object) -> list[Found]:
        return [odd, Found("The warranty of a spade.", ACME, "good")]

    found = await search(tmp_path, External("odd", retrieve))
    assert "acme/outside/good" in texts(found)
    odd_ones = [one.text for one in found.chunks if one.document_id.startswith("acme/outside/")]
    assert odd_ones[: text is not None] == [text][: text is not None]
    assert len([one for one in found.dropped if one.chunk_id.startswith("withheld-")]) == (not text)


@pytest.mark.parametrize(
    ("rows", "needed", "outcome", "says"),
    [
        ([Found("x", {**ACME, "scopes": ["vip"]})], (), "filtered_out", None),
        ([], ("staff",), "filtered_out", "not for this reader: scope_missing"),
        ([], (), "not_retrieved", "gave 0 others"),
    ],
)
async def test_where_nothing_is_found_elsewhere_the_reason_is_told(
    tmp_path: Path, rows: list[Found], needed: tuple[str, ...], outcome: str, says: str | None
) -> None:
    async def retrieve(*_: object) -> list[Found]:
        return rows

    source = External("some", retrieve, scopes=needed)
    made = WithExternal(await embedded_searcher([], tmp_path), {"outside": source})
    asked = SearchRequest(
        query="x", tenant="acme", scopes=(), sources=("outside",), spec=RetrievalSpec()
    )
    assert (await made.search(asked)).outcome is RetrievalOutcome(outcome)
    told = await explain(made, asked, "acme/outside/w9", [])
    if says is None:  # whose a withheld result is, is not known: it may be this one
        assert told.outcome is RetrievalOutcome.NOT_RETRIEVED
        assert "withheld, unnamed: 1 by scope_missing" in told.reason
    else:
        assert told.outcome is RetrievalOutcome(outcome) and says in told.reason


HOW_TO = Path(__file__).parents[2] / "docs/how-to/search-other-retrievers.md"


@pytest.mark.parametrize("libraries", [MADE[1:]] if MADE[1:] else [])
async def test_what_the_how_to_says_works(
    libraries: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python as it stands, over real stores of both libraries, through the settings."""
    (code,) = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    (tmp_path / "our_sources.py").write_text(code)
    (tmp_path / "our_stores.py").write_text(STORES)
    monkeypatch.syspath_prepend(tmp_path)
    known = external_of(RetrieverSettings(external_sources="our_sources:sources"))
    bundle = {"partner_docs": KnowledgeSource(), "wiki": KnowledgeSource(scopes=("staff",))}
    inner = await embedded_searcher([], tmp_path / "index")
    made = WithExternal(inner, narrowed(known, bundle))
    for scopes, wanted in (
        ((), ["Partners of acme."]),
        (("staff",), ["Partners of acme.", "The wiki of acme."]),
    ):
        found = await made.search(
            SearchRequest(
                query="partners", tenant="acme", scopes=scopes, sources=tuple(sorted(bundle)),
                spec=RetrievalSpec(),
            )
        )  # fmt: skip
        assert [chunk.text for chunk in found.chunks] == wanted
        # The filters were theirs: nothing had to be taken out afterwards.
        assert not any(one.chunk_id.startswith("withheld-") for one in found.dropped)


STORES = """
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.schema import TextNode

store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
store.add_documents(
    [
        Document(id=f"p-{name}", page_content=f"Partners of {name}.", metadata={"tenant": name})
        for name in ("acme", "globex")
    ]
)
index = VectorStoreIndex(
    [
        TextNode(id_=f"w-{name}", text=f"The wiki of {name}.", metadata={"tenant": name})
        for name in ("acme", "globex")
    ],
    embed_model=MockEmbedding(embed_dim=8),
)
"""
