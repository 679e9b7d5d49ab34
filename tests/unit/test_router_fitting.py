"""The fitted examples: deterministic, calibrated on what was not fitted, and able to say no."""

import numpy as np
import pytest
from scipy import sparse  # type: ignore[import-untyped]  # scipy ships no types

from interlock.bundles.model import Bundle, Intent, RouterSpec
from interlock.intent_router.classifier import Classifier
from interlock.intent_router.features import Features
from interlock.intent_router.fitted import FittedExamples
from interlock.intent_router.fitting import Examples, evidence, fit, fit_and_calibrate
from interlock.runtime.embedding import load_wordllama
from interlock_contracts.failures import FailureCode

EMBED = load_wordllama().embed
EXAMPLES = (
    ("track", "Where is my parcel?"),
    ("track", "Has my order shipped yet?"),
    ("track", "When will the delivery come?"),
    ("track", "Track my package"),
    ("refund", "I want my money back"),
    ("refund", "Please refund this broken mug"),
    ("refund", "Give me a refund for my order"),
    ("refund", "Return the amount to my card"),
    ("none", "Tell me a joke"),
    ("none", "Who won the election?"),
    ("none", "Write a poem about the sea"),
    ("none", "What is the capital of France?"),
)


def bundle(router: RouterSpec) -> Bundle:
    names = sorted({intent for intent, _ in EXAMPLES})
    intents = {
        name: Intent(examples=tuple(text for own, text in EXAMPLES if own == name))
        for name in names
    }
    return Bundle(name="b", version="1", intents=intents, router=router)


def test_the_same_examples_give_the_same_decisions_in_any_order() -> None:
    first = FittedExamples(EXAMPLES, "none", EMBED)
    again = FittedExamples(EXAMPLES, "none", EMBED)
    turned = FittedExamples(EXAMPLES[4:] + EXAMPLES[:4], "none", EMBED)
    for text in ("where is it", "money back please", "sing a song"):
        assert first.find(text) == again.find(text)
        assert first.find(text).intent == turned.find(text).intent


@pytest.mark.parametrize(
    ("text", "intent", "outside"),
    [
        ("has the parcel been shipped", "track", False),
        ("refund my card", "refund", False),
        ("tell me another joke about elections", None, True),
    ],
)
def test_what_fits_the_outside_better_is_outside(
    text: str, intent: str | None, outside: bool
) -> None:
    found = FittedExamples(EXAMPLES, "none", EMBED).find(text)
    assert found.outside is outside
    assert intent in (None, found.intent)
    assert found.intent != "none"
    assert 0 <= found.margin <= found.confidence <= 1


def test_confidence_is_a_threshold_of_its_own() -> None:
    spec = RouterSpec(threshold=0, fallback="none")
    text = "Has my order shipped yet?"
    sure = Classifier(bundle(spec)).classify(text)
    assert sure.intent == "track"
    above = min(1.0, sure.confidence + 0.001)
    strict = spec.model_copy(update={"confidence": above})
    refused = Classifier(bundle(strict)).classify(text)
    assert (refused.intent, refused.failure) == ("none", FailureCode.OUT_OF_SCOPE)
    assert refused.why[0].reference == "confidence"
    assert refused.confidence == sure.confidence


def test_strange_words_take_similarity_away_but_no_evidence() -> None:
    fitted = FittedExamples(EXAMPLES, "none", EMBED)
    plain, strange = fitted.find("Track my package"), fitted.find("Track my package zxqv wvvkk")
    assert plain.similarity > strange.similarity
    assert plain.nearest[0].similarity == pytest.approx(1.0, abs=1e-4)


def test_few_examples_lie_further_apart_than_many() -> None:
    many = (*EXAMPLES, *((name, f"{text} please") for name, text in EXAMPLES))
    few, more = (FittedExamples(one, "none", EMBED).usual for one in (EXAMPLES, many))
    assert 0 < few < more < 1
    strange = tuple(("none", text) for text in ("zebra", "isotope", "quarterly", "ukulele"))
    assert FittedExamples((*EXAMPLES, *strange), "none", EMBED).usual == few
    assert FittedExamples((("one", "a"), ("two", "b")), "none", EMBED).usual == 0.0


def test_logistic_regression_finds_what_tells_classes_apart() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32))
    dense = np.zeros((4, 1), dtype=np.float32)
    examples = Examples(matrix, dense, np.array([0, 0, 1, 1]))
    weights = fit(examples, 2)
    assert (weights.logits(examples).argmax(axis=1) == examples.classes).all()
    assert weights.sparse[0, 0] > 0 > weights.sparse[0, 1]


def test_evidence_counts_half_of_what_speaks_for_outside() -> None:
    scores = np.array([[3.0, 1.0, 4.0]], dtype=np.float32)
    value, best = evidence(scores, outside=2)
    assert (float(value[0]), int(best[0])) == (1.0, 0)
    value, best = evidence(scores, outside=None)
    assert (float(value[0]), int(best[0])) == (4.0, 2)


def test_calibration_believes_separable_classes_more_than_noise() -> None:
    chance = np.random.default_rng(7)
    classes = np.arange(200) % 2
    empty = sparse.csr_matrix((200, 1), dtype=np.float32)
    clear = (2.0 * classes - 1)[:, None].astype(np.float32)
    noise = chance.normal(size=(200, 1)).astype(np.float32)

    def believed(dense: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> float:
        fitted = fit_and_calibrate(Examples(empty, dense, classes), 2, None)
        value, _ = evidence(fitted.weights.logits(Examples(empty, dense, classes)), None)
        return float((1 / (1 + np.exp(-(fitted.slope * value + fitted.offset)))).mean())

    assert believed(clear) > 0.9
    assert believed(noise) < 0.65


def test_a_text_without_a_known_word_has_no_columns() -> None:
    features = Features([text for _, text in EXAMPLES], 3, EMBED)
    row = features.row("12345 ???")
    assert len(row.columns) == 0
    assert np.isfinite(row.dense).all()
