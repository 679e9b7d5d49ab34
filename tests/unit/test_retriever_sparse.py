"""A sparse model beside the embedder: fastembed's files, and what is made of its weights."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.support.sparse import VOCABULARY, Furniture, write_model

from interlock.bundles.model import Bundle
from interlock.bundles.privacy import PrivacySpec
from interlock.retriever.parts import embedder_of
from interlock.retriever.private import outside, private_embedder
from interlock.retriever.ranking.keywords import term_index, terms
from interlock.retriever.ranking.pooled import load_pooled
from interlock.retriever.ranking.sparse import WithSparse, dimensions, query_weights, sparse_of
from interlock.retriever.settings import RetrieverSettings
from interlock.runtime.embedding import Vectors
from interlock.runtime.errors import UserError

MODEL = "prithivida/Splade_PP_en_v1"
TEXTS = ["A leather sofa.", " ", "Couch or table?", "Nothing of it."]

# It comes with an extra, which not everybody installs.
HERE = find_spec("fastembed") is not None


def settings(folder: Path, sparse: str = f"fastembed:{MODEL}") -> RetrieverSettings:
    return RetrieverSettings(sparse=sparse, model_folder=folder)


@pytest.mark.parametrize("inner", ["", "Splade_PP_en_v1"] if HERE else [])
def test_a_models_own_folder_is_loaded(tmp_path: Path, inner: str) -> None:
    """Itself named, or one of several in the folder that is named; by fastembed, without a hub."""
    write_model(tmp_path / "models" / inner)
    embedder = embedder_of(settings(tmp_path / "models"))
    sparse = sparse_of(embedder)
    assert sparse is not None and embedder.name.endswith(f"+{sparse.name}")
    assert embedder.name.startswith(load_pooled().name) and MODEL in sparse.name
    wanted = Furniture()
    for text, made in zip(TEXTS, sparse.passages(TEXTS), strict=True):
        assert made == pytest.approx(wanted.query(text), rel=1e-5)
    assert sparse.query("Couch") == pytest.approx(wanted.query("couch"), rel=1e-5)


@pytest.mark.parametrize(
    ("sparse", "says"),
    [
        (f"fastembed:{MODEL}", "is not in" if HERE else "is not installed"),
        ("fastembed:Qdrant/bm25", "leaves frequencies to the engine" if HERE else "not installed"),
        ("fastembed:nobody/knows", "unknown to fastembed" if HERE else "is not installed"),
        ("splade", "INTERLOCK_SPARSE"),
        ("api:splade", "INTERLOCK_SPARSE"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, sparse: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        embedder_of(settings(tmp_path, sparse))


def test_without_one_nothing_changes() -> None:
    embedder = embedder_of(RetrieverSettings())
    assert sparse_of(embedder) is None and embedder.name == load_pooled().name


def test_beside_an_embedder_outside_it_alone_sees_what_is_personal() -> None:
    seen: list[str] = []

    class Outside:
        name, dimensions, outside = "outside", 1, True

        def embed(self, texts: Sequence[str]) -> Vectors:
            seen.extend(texts)
            return np.zeros((len(texts), 1), np.float32)

    bundle = Bundle(name="test", version="1", privacy=PrivacySpec())
    private = private_embedder(WithSparse(Outside(), Furniture()), bundle)
    sparse = sparse_of(private)
    assert isinstance(sparse, Furniture) and outside(private)
    assert private.name.startswith("outside-redacted-") and private.name.endswith("+furniture-1")
    private.embed(["A sofa for ann@example.com"])
    assert seen == ["A sofa for [EMAIL]"]


def test_dimensions_are_not_those_of_any_word() -> None:
    tokens = range(30_522)
    own = set(dimensions(dict.fromkeys(tokens, 1.0)))
    assert len(own) > len(tokens) - 3
    assert not own & {term_index(term) for word in VOCABULARY for term in terms(word)}


async def test_of_a_query_the_heaviest_are_asked() -> None:
    class Two:
        name, dimensions, sparse = "two", 1, Furniture()

        def embed(self, texts: object) -> None: ...

    embedder: object = Two()
    every = await query_weights(embedder, "sofa table", 9)  # type: ignore[arg-type]  # no vectors
    assert sorted(every.values()) == [0.8, 1.0, 1.0]
    most = await query_weights(embedder, "sofa table", 2)  # type: ignore[arg-type]  # as above
    assert most == {name: weight for name, weight in every.items() if weight == 1.0}
    assert await query_weights(embedder, " ", 9) == {}  # type: ignore[arg-type]  # as above
