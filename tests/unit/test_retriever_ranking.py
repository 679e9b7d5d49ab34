"""Terms, weights, fusion and what is kept."""

import copy
import pickle

import pytest
from pydantic import ValidationError

from interlock.bundles.knowledge import RetrievalSpec
from interlock.retriever.engines.index import ranking
from interlock.retriever.ranking.fusion import fuse, keep, ordered, reordered
from interlock.retriever.ranking.keywords import (
    STOPWORDS,
    passage_weights,
    query_weights,
    term_index,
    terms,
)
from interlock_contracts.retrieval import Ranking


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Refunds are refunded", ["refund", "refund"]),
        ("Where is A-1001?", ["a-1001"]),
        ("$20.00, 1,500 or 15%", ["20.00", "1,500", "15"]),
        ("SKU_77-b/2 at v2.1.", ["sku_77-b/2", "v2.1"]),
        ("a self-service page", ["self-service", "self", "servic", "page"]),
        ("the customer's order", ["custom", "order"]),
        ("I don't know", ["know"]),
        ("ﬁne café", ["fine", "café"]),
        ("How do I ...", []),
        ("", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_stopwords_are_about_130() -> None:
    assert 120 <= len(STOPWORDS) <= 150
    assert "refund" not in STOPWORDS


def test_passage_weights_follow_the_formula() -> None:
    weights = passage_weights(["refund", "refund", "order"], usual=6.0)
    norm = 1.2 * (1 - 0.75 + 0.75 * 3 / 6)
    assert weights[term_index("refund")] == pytest.approx(2 * 2.2 / (2 + norm))
    assert weights[term_index("order")] == pytest.approx(2.2 / (1 + norm))


def test_nothing_weighs_nothing() -> None:
    assert passage_weights([], usual=50) == {}
    assert query_weights([]) == {}


def leg(step: str, **scores: float) -> Ranking:
    return ranking(step, scores.items())


WEIGHTS = {"keyword": 0.7, "dense": 0.3}


def fused(limit: int, *legs: Ranking) -> dict[str, float]:
    return {hit.chunk_id: hit.score for hit in fuse(legs, WEIGHTS, limit).hits}


def test_a_full_leg_is_normalised_from_its_last() -> None:
    assert fused(3, leg("keyword", a=9.0, b=6.0, c=3.0)) == {"a": 0.7, "b": 0.35, "c": 0.0}


def test_a_leg_that_was_not_full_is_normalised_from_zero() -> None:
    assert fused(4, leg("keyword", a=9.0, b=6.0)) == {"a": 0.7, "b": pytest.approx(0.7 * 2 / 3)}


def test_legs_add_up() -> None:
    both = fused(9, leg("keyword", a=2.0, b=1.0), leg("dense", b=0.5))
    assert both == {"a": 0.7, "b": pytest.approx(0.65)}


def test_a_full_leg_of_equals_counts_for_all_of_them() -> None:
    assert fused(2, leg("keyword", a=1.0, b=1.0)) == {"a": 0.7, "b": 0.7}


def test_equal_scores_are_ordered_by_id() -> None:
    assert list(fused(9, leg("keyword", c=1.0, a=1.0, b=1.0))) == ["a", "b", "c"]


def test_no_legs() -> None:
    assert fused(9) == fused(9, leg("keyword"), leg("dense")) == {}


def test_a_list_made_of_another_is_as_if_validated() -> None:
    scored = [("b", 0.5), ("a", 0.5), ("é#1", 0.75), ("c", 0.0)]
    quick, slow = reordered("fused", scored), ordered("fused", scored)
    assert quick == slow and quick.model_dump_json() == slow.model_dump_json()
    assert Ranking.model_validate_json(quick.model_dump_json()) == quick
    one, other = quick.hits[0], slow.hits[0]
    assert hash(one) == hash(other) and copy.deepcopy(one) == other
    assert pickle.loads(pickle.dumps(one)) == other
    assert one.model_copy(update={"score": 1.0}) == other.model_copy(update={"score": 1.0})
    assert one.model_fields_set == other.model_fields_set
    with pytest.raises(ValidationError, match="frozen"):
        one.score = 1.0  # type: ignore[misc]  # must be refused


def test_scores_of_nothing_are_no_hits() -> None:
    assert leg("dense", a=0.0, b=-0.3).hits == ()


def test_what_is_not_kept_says_why() -> None:
    spec = RetrievalSpec(limit=2, per_document=1, min_score=0.2)
    scored = {"d#1": 0.9, "d#2": 0.8, "e#1": 0.7, "f#1": 0.6, "g#1": 0.1}
    kept, dropped = keep(ranking("fused", scored.items()), spec)
    assert [hit.chunk_id for hit in kept] == ["d#1", "e#1"]
    assert [(one.chunk_id, one.reason) for one in dropped] == [
        ("d#2", "per_document"),
        ("f#1", "limit"),
        ("g#1", "min_score"),
    ]
