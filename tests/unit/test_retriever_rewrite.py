"""Frequencies over what may be read, rewriting, and the second look at titles."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from interlock.retriever.documents import Passage
from interlock.retriever.engines.index import ranking
from interlock.retriever.ranking.fusion import dense_share, dense_weight
from interlock.retriever.ranking.keywords import query_weights, term_index, terms
from interlock.retriever.ranking.rerank import supported, title_coverage
from interlock.retriever.ranking.rewrite import LONG, aspects, dimensions, feedback, select, spelled
from interlock.retriever.ranking.vocabulary import Frequencies, Vocabulary
from interlock_contracts.canonical import digest_bytes


def passage(text: str, tenant: str = "acme", scopes: tuple[str, ...] = ()) -> Passage:
    return Passage(
        chunk_id=f"{tenant}#{text}", document_id=tenant, version=digest_bytes(b"v"),
        digest=digest_bytes(text.encode()), tenant=tenant, source="help", trust="trusted",
        scopes=scopes, title="", url=None, heading="", text=text,
    )  # fmt: skip


def vocabulary(*passages: Passage) -> Vocabulary:
    return Vocabulary.of((one, query_weights(terms(one.text))) for one in passages)


def readable(
    of: Vocabulary, scopes: tuple[str, ...] = (), sources: tuple[str, ...] = ("help",)
) -> Frequencies:
    return of.readable(tenant="acme", scopes=scopes, sources=sources)


def idf(of: Frequencies, word: str) -> float:
    (term,) = terms(word)
    return of[term]


PASSAGES = (
    passage("refund refund refund parcel"),
    passage("refund invoice"),
    passage("warranty", scopes=("staff",)),
    passage("refund battery", tenant="globex"),
)


def test_frequencies_follow_the_formula() -> None:
    found = readable(vocabulary(*PASSAGES))
    assert found.total == 2
    assert idf(found, "refund") == pytest.approx(math.log(1 + 0.5 / 2.5))
    assert idf(found, "parcel") == pytest.approx(math.log(1 + 1.5 / 1.5))


def test_what_may_not_be_read_has_no_influence() -> None:
    found = readable(vocabulary(*PASSAGES))
    alone = readable(vocabulary(*PASSAGES[:2]))
    assert found.total == alone.total
    for word in ("refund", "parcel", "warranty", "battery", "unheard"):
        assert idf(found, word) == idf(alone, word)
    assert idf(found, "warranty") == idf(found, "battery") == 0
    assert idf(readable(vocabulary(*PASSAGES), scopes=("staff",)), "warranty") > 0
    assert idf(readable(vocabulary(*PASSAGES), sources=("notes",)), "refund") == 0


@pytest.mark.parametrize("passages", [PASSAGES, ()])
def test_a_vocabulary_comes_back_from_its_file(
    passages: tuple[Passage, ...], tmp_path: Path
) -> None:
    before = vocabulary(*passages)
    before.save(tmp_path / "vocabulary.npz")
    after = Vocabulary.load(tmp_path / "vocabulary.npz")
    for scopes in ((), ("staff",)):
        one, other = readable(before, scopes), readable(after, scopes)
        assert one.total == other.total
        for word in ("refund", "parcel", "warranty"):
            assert idf(one, word) == idf(other, word)


STORY = " ".join(f"The parcel number {number} arrived broken on monday." for number in range(12))


def test_a_long_text_has_aspects_that_lose_nothing() -> None:
    parts = aspects(STORY, 4)
    assert 2 <= len(parts) <= 4
    assert " ".join(parts) == STORY


@pytest.mark.parametrize(
    ("text", "most"), [("Where is my parcel?", 4), (STORY, 0), (STORY, 1), ("", 4), ("?!" * 99, 4)]
)
def test_a_short_text_has_none(text: str, most: int) -> None:
    assert aspects(text, most) == ()


def test_one_sentence_without_an_end_is_no_aspect() -> None:
    assert aspects("parcel " * (LONG + 1), 4) == ()


def test_the_terms_that_weigh_most_are_selected() -> None:
    found = readable(vocabulary(*PASSAGES))
    words = ["refund", "parcel", "unheard", "parcel"]
    assert select(words, found, 1) == {"parcel": 2.0}
    assert select(words, found, 3) == {"refund": 1, "parcel": 2, "unheard": 1}


def test_feedback_brings_in_what_the_best_speak_of() -> None:
    found = readable(vocabulary(*PASSAGES))
    gained = feedback(["refund"], [({"refund": 1, "parcel": 1}, 2, 1.0)], found, most=5, weight=0.1)
    assert set(gained) == {"refund", "parcel"}
    assert sum(gained.values()) == pytest.approx(1.0)
    assert gained["refund"] > 0.9 > gained["parcel"] > 0
    assert spelled(gained).startswith("refund^0.9")


@pytest.mark.parametrize("found", [[], [({}, 0, 1.0)], [({"unheard": 1}, 1, 1.0)]])
def test_feedback_of_nothing_is_the_query(
    found: list[tuple[Mapping[str, int], int, float]],
) -> None:
    own = feedback(["refund"], found, readable(vocabulary(*PASSAGES)), most=5, weight=0.1)
    assert own == {"refund": 1}


def test_a_query_weighs_what_its_terms_do_and_leaves_the_unheard_out() -> None:
    found = readable(vocabulary(*PASSAGES))
    weights: Mapping[str, float] = {"refund": 0.5, "parcel": 2.0, "warranti": 1.0, "unheard": 1.0}
    assert dimensions(weights, found) == {
        term_index("refund"): pytest.approx(0.5 * math.log(1 + 0.5 / 2.5)),
        term_index("parcel"): pytest.approx(2.0 * math.log(1 + 1.5 / 1.5)),
    }


def test_a_title_the_query_names_comes_first() -> None:
    fused = ranking("fused", [("a", 0.50), ("b", 0.45), ("c", 0.40)])
    found = readable(vocabulary(*PASSAGES))
    titles = {"a": "Invoice", "b": "Parcel refund", "c": ""}
    again = title_coverage(fused, titles, {"parcel", "refund"}, found, 0.2)
    assert [hit.chunk_id for hit in again.hits] == ["b", "a", "c"]
    assert again.hits[0].score == pytest.approx((0.45 + 0.2) / 1.2, abs=1e-6)
    assert again.hits[1].score == pytest.approx(0.5 / 1.2, abs=1e-6)


def test_the_weight_belongs_to_the_embedder() -> None:
    assert dense_weight("wordllama-0.4.0-l2_supercat-256") == 0.3
    assert dense_weight("all-MiniLM-L6-v2") == 0.5


@pytest.mark.parametrize(
    ("scores", "terms", "share"),
    [
        ((1.0, 0.7), 30, 0.3),
        ((1.0, 0.4), 30, 0.658),  # sure of its best
        ((1.0, 1.0), 30, 0.15),  # all alike: never less than half
        ((1.0, 0.7), 4, 0.682),  # short passages
        ((1.0, 0.7), 60, 0.198),
    ],
)
def test_a_dense_leg_that_is_sure_weighs_more(
    scores: tuple[float, ...], terms: float, share: float
) -> None:
    found = ranking("dense", [(str(place), score) for place, score in enumerate(scores)])
    assert dense_share(0.3, found, terms) == pytest.approx(share, abs=1e-3)


def test_the_share_looks_no_further_than_the_tenth() -> None:
    near = [(f"{place:02}", 1.0 if place == 0 else 0.7) for place in range(10)]
    short = ranking("dense", near)
    assert dense_share(0.3, short, 30) == dense_share(
        0.3, ranking("dense", [*near, ("z", 0.1)]), 30
    )


@pytest.mark.parametrize(("usual", "hits"), [(0.0, 1), (1.0, 1), (0.3, 0)])
def test_an_only_leg_and_an_empty_one_keep_their_share(usual: float, hits: int) -> None:
    assert dense_share(usual, ranking("dense", [("a", 0.5)] * hits), 30) == usual


def test_passages_of_one_document_support_each_other() -> None:
    fused = ranking("fused", [("d#1", 0.5), ("e#1", 0.48), ("e#2", 0.4), ("f#1", 0.1)])
    again = {hit.chunk_id: hit.score for hit in supported(fused, 0.25).hits}
    assert again == {
        "e#1": pytest.approx((0.48 + 0.1) / 1.25),
        "e#2": pytest.approx((0.4 + 0.12) / 1.25),
        "d#1": pytest.approx(0.5 / 1.25),
        "f#1": pytest.approx(0.1 / 1.25),
    }
    assert list(again) == ["e#1", "e#2", "d#1", "f#1"]
