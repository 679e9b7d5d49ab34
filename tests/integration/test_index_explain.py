"""Why was my document not found? One document for every answer there is."""

from pathlib import Path

import pytest

from interlock.bundles.knowledge import KnowledgeSource, RetrievalSpec
from interlock.bundles.model import Bundle
from interlock.retriever.documents import Passage, load_passages
from interlock.retriever.explain import explain
from interlock.retriever.search import SearchRequest
from interlock.retriever.searcher import Searcher
from interlock.retriever.service import embedded_searcher
from interlock_contracts.retrieval import RetrievalOutcome

BUNDLE = Bundle(
    name="test",
    version="1",
    sources={
        "help": KnowledgeSource(path="docs/{tenant}/help"),
        "runbooks": KnowledgeSource(path="docs/{tenant}/runbooks", scopes=("staff",)),
    },
)
DOCUMENTS = {
    "acme/help/returns.md": "You have thirty days for a return.",
    "acme/help/late.md": "A return that is late needs the word of a lead.",
    "acme/help/parcels.md": "Parcels to Canada need six days.",
    "acme/runbooks/refunds.md": "A lead approves refunds above 100.",
    "globex/help/other.md": "You have ten days for a return.",
}

Made = tuple[Searcher, list[Passage]]


@pytest.fixture
async def made(tmp_path: Path) -> Made:
    for path, text in DOCUMENTS.items():
        file = tmp_path / "docs" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    passages = load_passages(BUNDLE, tmp_path)
    return await embedded_searcher(passages, tmp_path / "index"), passages


def about(
    query: str, *, scopes: tuple[str, ...] = (), sources: tuple[str, ...] = ("help", "runbooks"),
    spec: RetrievalSpec | None = None,
) -> SearchRequest:  # fmt: skip
    return SearchRequest(
        query=query, tenant="acme", scopes=scopes, sources=sources, spec=spec or RetrievalSpec()
    )


@pytest.mark.parametrize(
    ("request_", "document", "outcome", "reason"),
    [
        (about("days for a return"), "acme/help/returns", "found", "in the context"),
        (about("x"), "acme/help/none", "nothing_indexed", "no passage has this document id"),
        (about("x"), "globex/help/other", "nothing_indexed", "belongs to another tenant"),
        (about("refunds"), "acme/runbooks/refunds", "filtered_out", "scopes not held: staff"),
        (
            about("refunds", sources=("help",), scopes=("staff",)),
            "acme/runbooks/refunds", "filtered_out", "source 'runbooks' is not among",
        ),
        (
            about("days for a return", spec=RetrievalSpec(limit=1)),
            "acme/help/late", "ranked_out", "dropped by limit",
        ),
        (
            about("days for a return", spec=RetrievalSpec(min_score=0.99)),
            "acme/help/late", "ranked_out", "dropped by min_score",
        ),
        (
            about("thirty days for a return", spec=RetrievalSpec(candidates=1)),
            "acme/help/parcels", "not_retrieved", "below the candidates: ",
        ),
        (about(""), "acme/help/parcels", "not_retrieved", "in neither leg; it shares no term"),
    ],
)  # fmt: skip
async def test_where_it_fell_out(
    made: Made, request_: SearchRequest, document: str, outcome: str, reason: str
) -> None:
    searcher, passages = made
    told = await explain(searcher, request_, document, passages)
    assert told.outcome is RetrievalOutcome(outcome), told
    assert reason in told.reason


async def test_the_places_are_those_of_the_record(made: Made) -> None:
    searcher, passages = made
    request = about("days for a return")
    told = await explain(searcher, request, "acme/help/returns", passages)
    result = await searcher.search(request)
    (trace,) = told.passages
    assert [place.step for place in trace.places] == [one.step for one in result.rankings]
    assert trace.places[-1].rank == 1
    assert {"day", "return"} <= set(trace.shared_terms)
