"""The embedder from the wheel: unit vectors, the same ones every time, and no side effects."""

import logging

import numpy as np
import pytest

from interlock.runtime.embedding import load_wordllama


@pytest.fixture(autouse=True)
def fresh() -> None:
    load_wordllama.cache_clear()


def test_vectors_have_unit_length_and_an_empty_text_is_zero() -> None:
    vectors = load_wordllama().embed(["a red kettle", "", "  \n", "🙂"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, load_wordllama().dimensions)
    assert np.isfinite(vectors).all()
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths[0] == pytest.approx(1.0, abs=1e-5)
    assert lengths[1] == 0.0


def test_a_vector_does_not_depend_on_the_texts_beside_it() -> None:
    embed = load_wordllama().embed
    texts = ["short", "a much longer text about kettles and their care", "mid length text"]
    together = embed(texts)
    assert all(np.array_equal(together[i], embed([text])[0]) for i, text in enumerate(texts))


def test_what_means_the_same_is_nearer_than_what_does_not() -> None:
    refund, money_back, weather = load_wordllama().embed(
        ["I want a refund", "give me my money back", "the weather in Rome"]
    )
    assert refund @ money_back > refund @ weather


def test_no_texts_are_no_vectors() -> None:
    assert load_wordllama().embed([]).shape == (0, load_wordllama().dimensions)


def test_loading_leaves_the_root_logger_alone_and_names_the_model() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    embedder = load_wordllama()
    assert (list(root.handlers), root.level) == before
    assert embedder.name.startswith("wordllama-")
    assert load_wordllama() is embedder
