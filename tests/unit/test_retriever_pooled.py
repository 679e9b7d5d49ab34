"""Vectors for search: what counts in a passage, in a question, and around a passage."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.support.sparse import Furniture

from interlock.retriever.documents import Passage
from interlock.retriever.engines.entries import CONTEXT, entries
from interlock.retriever.ranking.keywords import query_weights, terms, words
from interlock.retriever.ranking.pooled import load_pooled, question_vectors
from interlock.retriever.ranking.sparse import WithSparse
from interlock.retriever.ranking.vocabulary import Frequencies, Vocabulary
from interlock.runtime.embedding import Vectors
from interlock_contracts.canonical import digest_bytes


def passage(text: str, document: str = "d", tenant: str = "acme") -> Passage:
    return Passage(
        chunk_id=f"{document}#{text}", document_id=document, version=digest_bytes(b"v"),
        digest=digest_bytes(text.encode()), tenant=tenant, source="help", trust="trusted",
        scopes=(), title="", url=None, heading="", text=text,
    )  # fmt: skip


def frequencies(*texts: str) -> Frequencies:
    counted = [(passage(text), query_weights(terms(text))) for text in texts]
    return Vocabulary.of(counted).readable(tenant="acme", scopes=(), sources=("help",))


def likeness(one: Vectors, other: Vectors) -> float:
    return float(np.vecdot(one, other))


def test_vectors_are_of_unit_length_or_zero() -> None:
    embedder = load_pooled()
    known = frequencies("refund")
    for found in (
        embedder.embed(["a refund", "", "  \n", "refund " * 500]),
        embedder.questions(["a refund", "", "...", "the the"], known),
    ):
        assert found.shape == (4, embedder.dimensions) and found.dtype == np.float32
        lengths = np.linalg.norm(found, axis=1)
        assert np.allclose(lengths[lengths > 0], 1, atol=1e-6)
        assert lengths[0] > 0 == lengths[1]
    assert embedder.embed([]).shape == embedder.questions([], known).shape == (0, 256)


def test_a_batch_changes_nothing() -> None:
    texts = ["refund", "a much longer text about parcels that came late", "battery"] * 50
    together = load_pooled().embed(texts)
    assert np.array_equal(together, np.concatenate([load_pooled().embed([one]) for one in texts]))


def test_a_repeated_word_does_not_drown_the_others() -> None:
    embed = load_pooled().embed
    repeated, battery = embed(["refund refund refund refund refund refund battery", "battery"])
    plain = load_pooled()._model.embed(["refund refund refund refund refund refund battery"])[0]
    assert likeness(repeated, battery) > likeness(plain, battery) + 0.05


def test_a_question_is_about_what_tells_passages_apart() -> None:
    embedder = load_pooled()
    everywhere = frequencies(*(f"refund number{place}" for place in range(20)), "refund battery")
    (weighed,) = embedder.questions(["refund battery"], everywhere)
    refund, battery, both = embedder.embed(["refund", "battery", "refund battery"])
    assert likeness(weighed, battery) > likeness(both, battery)
    assert likeness(weighed, refund) < likeness(both, refund)


def test_a_word_in_no_passage_still_counts() -> None:
    embedder = load_pooled()
    (found,) = embedder.questions(["reimbursement"], frequencies("refund"))
    assert likeness(found, embedder.embed(["reimbursement"])[0]) > 0.99


class Plain:
    """An embedder that knows of no questions."""

    name = "plain"
    dimensions = 2

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = {"east": (1, 0), "north": (0, 1), "": (0, 0)}
        return np.array([rows[text] for text in texts], np.float32).reshape(-1, 2)


async def test_another_embedder_has_questions_as_passages() -> None:
    (found,) = await question_vectors(Plain(), ["north"], frequencies("north"))
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Refunds", [("The", ""), ("Refunds", "refund")]),
        ("A-1001, v2.1", [("A", ""), ("1001", "1001"), ("v2", "v2"), ("1", "1")]),
        ("the customer's self-service", [
            ("the", ""), ("customer's", "custom"), ("self", "self"), ("service", "servic"),
        ]),
        ("... ?", []),
    ],
)  # fmt: skip
def test_words(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(words(text)) == expected


def test_a_passage_stands_nearer_to_its_document() -> None:
    one, other, alone = passage("east"), passage("north"), passage("north", document="e")
    east, north, north_alone = (entry.dense for entry in entries([one, other, alone], Plain()))
    moved = np.array([1, 0]) + CONTEXT * np.array([1, 1]) / np.sqrt(2)
    assert east == pytest.approx(moved / np.linalg.norm(moved), abs=1e-3)
    assert east == pytest.approx(north[::-1])
    assert north_alone.tolist() == [0, 1]


def test_a_document_of_another_tenant_moves_nothing() -> None:
    mine, theirs = passage("east"), replace(passage("north"), tenant="globex")
    assert entries([mine, theirs], Plain())[0].dense.tolist() == [1, 0]


def test_a_passage_without_a_vector_stays_without() -> None:
    made = entries([passage("east"), passage("")], Plain())
    assert made[0].dense.tolist() == [1, 0] and made[1].dense.tolist() == [0, 0]


async def test_a_sparse_model_beside_it_changes_no_question() -> None:
    known = frequencies("refund", "battery")
    beside = WithSparse(load_pooled(), Furniture())
    (found,) = await question_vectors(beside, ["a refund"], known)
    assert np.array_equal(found, load_pooled().questions(["a refund"], known)[0])
