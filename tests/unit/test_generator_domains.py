"""The extractive model as its readers meet it: questions to four small knowledge bases.

Whatever it says is quoted; what is asked for is in it, or it says that it is not found. Never a
quote that is beside the point.
"""

from pathlib import Path

import pytest
from tests.support.extractive import ask, chunk, said
from tests.unit.extractive_domains import QUESTIONS, SHOP, Asked

from interlock.bundles.compile import compile_bundle
from interlock.models.extractive.model import answer
from interlock.models.extractive.words import asked_stems, related, stems
from interlock.retriever.documents import load_documents
from interlock_contracts.retrieval import Chunk

EXAMPLE = Path(__file__).parents[2] / "examples/support"


@pytest.fixture(scope="module")
def shop() -> dict[str, str]:
    documents = load_documents(compile_bundle(EXAMPLE), EXAMPLE)
    return {
        one.title: one.text
        for one in documents
        if (one.tenant, one.source) == ("acme", "public_help")
    }


def context(documents: dict[str, str], question: str) -> tuple[Chunk, ...]:
    """The five sections that share most words with the question, the best first."""
    asked = set(asked_stems(question))
    asked |= {word for one in asked for word in related(one)}
    sections = [
        (title, section if number == 0 else f"## {section}")
        for title, text in documents.items()
        for number, section in enumerate(text.split("\n\n## "))
    ]
    shared = [len(asked & set(stems(f"{title} {text}"))) for title, text in sections]
    best = sorted(range(len(sections)), key=lambda at: (-shared[at], at))[:5]
    most = max(1, shared[best[0]])
    return tuple(
        chunk(number, sections[at][1], sections[at][0], max(0.05, shared[at] / most))
        for number, at in enumerate(best, 1)
    )


def check(documents: dict[str, str], asked: Asked) -> None:
    chunks = context(documents, asked.question)
    output = answer(ask(asked.question, chunks=chunks))
    if asked.want is None:
        assert output.abstained, said(output)
        return
    text = " ".join(said(output).split())
    assert asked.want in text
    assert asked.not_want not in text
    sources = {one.handle: one.text for one in chunks}
    for statement in output.statements:
        assert statement.citations
        assert all(one.quote in sources[one.handle] for one in statement.citations)


@pytest.mark.parametrize(
    ("domain", "asked"),
    [
        pytest.param(domain, asked, id=f"{domain}: {asked.question}")
        for domain, (_, questions) in QUESTIONS.items()
        for asked in questions
    ],
)
def test_questions_of_other_domains(domain: str, asked: Asked) -> None:
    check(QUESTIONS[domain][0], asked)


@pytest.mark.parametrize("asked", SHOP, ids=lambda asked: asked.question)
def test_questions_of_the_example(shop: dict[str, str], asked: Asked) -> None:
    check(shop, asked)
